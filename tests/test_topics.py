"""The verb, its folder and its page."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from dipole.corpora.corpus import open_corpus
from dipole.recognizers import TopicModel
from dipole.recognizers._topic_folder import read_training
from dipole.recognizers.lda import Settings
from dipole.recognizers.topics import Topics, topics, word_likeness
from dipole.report.topics_map import document_map, ring
from dipole.runs import keeping, save
from dipole.types import UserError
from themes import THEMES, documents
from tolerance import POSTERIOR

FAST = Settings(n_topics=3, iterations=9, restarts=2)
HARM = "<script>alert('murder')</script> clue \u202e"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("corpus") / "<b>themes<b>.jsonl"
    rows = [{"id": d.id, "text": d.text} for d in documents(90)]
    rows[0] = {"id": "<i>0</i>", "text": HARM + rows[0]["text"] * 3}
    rows += [{"id": "silent", "text": "never counted"}, {"id": "bad"}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return file


@pytest.fixture(scope="module")
def found(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Topics, Path]:
    out = tmp_path_factory.mktemp("out") / "topics"
    result = topics(open_corpus(corpus), FAST, words=THEMES["crime"])
    save(result, out, command=["dipole", "topics", "x"])
    return result, out


def test_what_is_found(found: tuple[Topics, Path]) -> None:
    result, _ = found
    assert [skip.name for skip in result.skipped] == ["bad"]
    assert result.notes[0] == "1 left out: bad has no `text`."
    assert "Without any word that is counted: 1 of 91 documents" in result.notes[1]
    crime = result.topics[result.chosen or 0]
    assert {word for word, _ in crime.words} >= set(THEMES["crime"])
    assert crime.leading in (30, 31)
    assert all(e.id.startswith(("crime", "<i>")) for e in crime.examples)
    assert {e.id: e.text for e in crime.examples}["<i>0</i>"].startswith(HARM)
    theta = result.model.training.theta[:, crime.index]
    assert [e.share for e in crime.examples] == sorted(theta, reverse=True)[:3]
    assert sum(t.share for t in result.topics) == pytest.approx(1, abs=POSTERIOR)


def test_the_folder(found: tuple[Topics, Path]) -> None:
    result, out = found
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert sorted(p.name for p in out.iterdir()) == sorted([*manifest["files"], ".dipole-run"])
    assert manifest["skipped"] == [{"name": "bad", "reason": "has no `text`"}]
    assert manifest["settings"]["seed"] == 0
    assert manifest["versions"]["scikit-learn"]
    assert len(read_training(out).ids) == manifest["documents"] == 91
    loaded = TopicModel.load(out)
    assert np.array_equal(loaded.posterior(["a clue"]), result.model.posterior(["a clue"]))
    facts = json.loads((out / "topics.json").read_text("utf-8"))
    assert facts["bounds"] == list(result.model.bounds)
    assert facts["seeds"] == [0, 1]


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_the_page(found: tuple[Topics, Path]) -> None:
    result, out = found
    text = (out / "topics.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "i", "b", "img", "link"} & set(page.tags)
    assert "&lt;script&gt;alert" in text
    assert "[U+202E]" in text
    assert not re.search(r"(src|href)=\"?(http|//)", text)
    assert "http" not in text.replace("http-equiv", "")
    assert page.tags.count("article") == 3
    assert text.count('<circle cx="') == 91 + 3 + 1
    assert f"Asked for: topic <strong>{result.chosen}</strong>" in text


def test_an_output_is_not_replaced_unasked(corpus: Path, found: tuple[Topics, Path], tmp_path: Path) -> None:
    _, out = found
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    with pytest.raises(UserError, match="overwrite=True"), keeping(out):
        pytest.fail("the work was begun")
    with pytest.raises(UserError, match="can't be told apart"), keeping(out, overwrite=True) as keep:
        keep(topics(open_corpus(corpus), Settings(n_topics=92)))
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before
    assert [p.name for p in out.parent.iterdir()] == ["topics"]


def test_a_model_is_kept_where_no_word_that_was_asked_for_is_known(corpus: Path, tmp_path: Path) -> None:
    made = topics(open_corpus(corpus), Settings(3, 2, 1), words=["kraken"])
    save(made, tmp_path / "new")
    assert made.chosen is None
    assert "knows no word of 'kraken'" in made.notes[-1]
    assert TopicModel.load(tmp_path / "new").n_topics == 3


def test_examples_choose_a_topic(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "like.txt").write_text("A ship, a ship in a storm, Captain!")
    made = topics(open_corpus(corpus), FAST, examples=open_corpus(tmp_path / "like.txt"))
    assert made.chosen == made.model.choose(words=["ship"])


def test_word_likeness() -> None:
    components = np.array([[1.0, 1.0, 2.0], [10.0, 10.0, 20.0], [4.0, 0.0, 0.0]])
    found = word_likeness(components)
    by_hand = [[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]]
    np.testing.assert_allclose(found, by_hand, rtol=POSTERIOR)


def test_neighbours_on_the_ring_share_documents() -> None:
    # Topics 0-3-1-4-2-5 in a circle: each document is about two that follow one another.
    circle = [0, 3, 1, 4, 2, 5]
    theta = np.full((60, 6), 0.01)
    for row in range(60):
        theta[row, [circle[row % 6], circle[(row + 1) % 6]]] = 0.48
    order = ring(theta)
    start = order.index(0)
    turned = order[start:] + order[:start]
    assert turned in (circle, [0, *circle[:0:-1]])


def test_the_map_puts_a_document_among_its_topics() -> None:
    rng = np.random.default_rng(0)
    theta = rng.dirichlet([0.2] * 7, size=500)
    found = document_map(theta, most=300)
    assert found.points.shape == (300, 2)
    assert len(set(found.rows)) == 300
    np.testing.assert_allclose(np.linalg.norm(found.anchors, axis=1), 1, rtol=POSTERIOR)
    expected = theta[list(found.rows)] @ found.anchors
    assert np.abs(found.points - expected).max() < 0.15
    assert list(found.leading) == theta[list(found.rows)].argmax(1).tolist()
    assert np.array_equal(document_map(theta, most=300).points, found.points)
