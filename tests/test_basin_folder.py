"""The verb, its folder and its page."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dipole.corpora.corpus import Corpus, open_corpus, read_labels
from dipole.lm import LM
from dipole.microworld.cells import write_cells
from dipole.pointing.basin import Basin, _read, basin
from dipole.pointing.grid import Grid
from dipole.recognizers.lda import Settings as LDA
from dipole.recognizers.topic import TopicModel, TopicScore
from dipole.runs import save
from dipole.types import UserError

GRID = Grid(("intersection", "fixed-point"), 3, 2, 8, (4, 6))


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "<b>stories<b>"
    write_cells(folder, 25, seed=3)
    with (folder / "docs.jsonl").open("a") as file:
        file.write('{"id": "silent", "text": "Nobody knows."}\n{"id": "bad"}\n')
    return folder


@pytest.fixture(scope="module")
def corpus(stories: Path) -> Corpus:
    return open_corpus(stories / "docs.jsonl")


@pytest.fixture(scope="module")
def pointer(corpus: Corpus) -> TopicScore:
    return TopicScore(TopicModel.fit(corpus, LDA(2, iterations=10, restarts=1, max_words=40)), 0)


@pytest.fixture(scope="module")
def found(
    tiny: LM, stories: Path, corpus: Corpus, pointer: TopicScore, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Basin, Path]:
    out = tmp_path_factory.mktemp("out") / "basin"
    truth, crime = read_labels(stories / "truth.csv"), read_labels(stories / "crime.csv")
    made = basin(
        tiny,
        pointer,
        corpus,
        truth,
        GRID,
        flavour=crime,
        layers="1,2",
    )
    save(made, out, command=["dipole", "basin", "<i>"])
    return made, out


def test_what_is_measured(found: tuple[Basin, Path]) -> None:
    result, _ = found
    assert (result.documents, result.positive) == (100, 50)
    assert result.flavour == "labels"
    assert any(note.startswith("1 of 101 documents have no label of both kinds") for note in result.notes)
    assert any("bad has no `text`" in note for note in result.notes)
    assert len(result.ends) == 2 * (1 + 2 * 9 * 2)
    assert {end.layer for end in result.ends if end.layer >= 0} <= {1, 2}
    perfect = [end for end in result.ends if end.precision == end.recall == 1.0]
    assert sum(end.inside for end in perfect) / len(perfect) > 0.5


def test_the_folder(found: tuple[Basin, Path]) -> None:
    result, out = found
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert sorted(p.name for p in out.iterdir()) == sorted([*manifest["files"], ".dipole-run"])
    record = json.loads((out / "basin.json").read_text("utf-8"))
    assert len(record["ends"]) == len(result.ends)
    assert record["ends"][5]["f1"] == result.ends[5].f1
    assert record["grid"]["values"] == [0.55, 0.775, 1.0]
    assert {row["kind"] for row in record["summary"]} == {"topic", "uniform", "adversarial"}
    assert manifest["layers"] == [1, 2]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_the_page(found: tuple[Basin, Path]) -> None:
    result, out = found
    text = (out / "basin.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "i", "b", "img", "link"} & set(page.tags)
    assert "http" not in text.replace("http-equiv", "")
    assert text.count('class="own"') == 4
    assert page.tags.count("rect") == 4 * 9
    lost = [end for end in result.ends if end.kind != "topic" and end.layer >= 0 and not end.inside]
    assert text.count('class="lost"') == len(lost)
    assert re.search(r"fixed-point: of the starts [\d.]+% with uniform errors", text)


def test_no_more_documents_than_asked_for(
    tiny: LM, stories: Path, corpus: Corpus, pointer: TopicScore
) -> None:
    truth = read_labels(stories / "truth.csv")
    made = [
        basin(
            tiny, pointer, corpus, truth, Grid(("mixture",), 2, 1, 4),
            layers="2", most_documents=60,
        )
        for _ in (0, 1)
    ]  # fmt: skip
    assert made[0].documents == 60
    assert any(note == "60 of 100 labelled documents were used." for note in made[0].notes)
    assert made[0].flavour == "topic"
    assert made[0].to_dict() == made[1].to_dict()


def test_those_with_the_smallest_hashes_are_used(stories: Path, corpus: Corpus) -> None:
    truth = read_labels(stories / "truth.csv")
    ids = sorted(truth, key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:30]
    read = _read(corpus, truth, None, 30)
    assert [item.id for item in read.chosen] == [d.id for d in corpus if d.id in ids]
    assert all(item.truth == truth[item.id] for item in read.chosen)
    assert (read.documents, read.unlabelled, read.labelled) == (101, 1, 100)


def test_bad_input(tiny: LM, stories: Path, corpus: Corpus, pointer: TopicScore) -> None:
    truth = read_labels(stories / "truth.csv")
    for labels, flavour, said in (
        ({"elsewhere": True}, None, "No document of the corpus has a label: its ids look like 's0'"),
        (truth, {"elsewhere": True}, "No document of the corpus has a further label"),
        ({name: True for name in truth}, None, "are labelled 1, so there is no notion"),
        ({name: label for name, label in list(truth.items())[:12]}, None, "at least 20 documents"),
    ):
        with pytest.raises(UserError, match=said):
            basin(tiny, pointer, corpus, labels, GRID, flavour=flavour, layers="2")
    with pytest.raises(UserError, match="must be at least 1, and is 0"):
        basin(tiny, pointer, corpus, truth, GRID, most_documents=0)
    with pytest.raises(UserError, match="has layers 0 to"):
        basin(tiny, pointer, corpus, truth, GRID, layers="99")
