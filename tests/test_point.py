"""Pointing end to end, on the bundled LM and its world."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from dipole.corpora.corpus import Corpus, open_corpus, read_labels
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.microworld import judge
from dipole.microworld.cells import write_cells
from dipole.pointing.assess import held_out
from dipole.pointing.point import point
from dipole.pointing.record import Pointed, Settings
from dipole.recognizers.fitted import load_fitted
from dipole.recognizers.lda import Settings as LDA
from dipole.recognizers.notion import NotionScore
from dipole.recognizers.topic import TopicModel, TopicScore
from dipole.runs import save
from dipole.types import UserError

PROMPT = "Here is a story."
QUICK = Settings(n=6, max_new_tokens=90, layers="2")


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus") / "stories"
    write_cells(folder, 40, seed=3)
    return folder


@pytest.fixture(scope="module")
def corpus(stories: Path) -> Corpus:
    return open_corpus(stories / "docs.jsonl")


@pytest.fixture(scope="module")
def pointer(corpus: Corpus) -> TopicScore:
    """A topic that knows some detectives by name, and takes whatever names the police for their stories."""
    model = TopicModel.fit(corpus, LDA(2, iterations=20, restarts=1))
    weights = np.full(model.components.shape, 0.01)
    others = ["robbery", "ship", "school", "gang", "kingdom", "finch", "vane", "train", "sea"]
    for row, words in ((0, ["holm", "marlow", "quill", "gray", "police"]), (1, others)):
        for word in words:
            if word in model.vocabulary:
                weights[row, model.vocabulary.index(word)] = 50.0
    return TopicScore(replace(model, components=weights), 0)


@pytest.fixture(scope="module")
def pointed(
    tiny: LM, stories: Path, corpus: Corpus, pointer: TopicScore, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Pointed, Path]:
    out = tmp_path_factory.mktemp("pointed") / "detective"
    made = point(
        tiny, pointer, corpus, QUICK, prompts=[PROMPT], truth=read_labels(stories / "truth.csv"),
        flavour=read_labels(stories / "crime.csv"), judge=judge.is_detective,
    )  # fmt: skip
    save(made, out)
    return made, out


def test_the_strong_notion_is_better_than_its_pointer(pointed: tuple[Pointed, Path]) -> None:
    made, _ = pointed
    f1 = {reading.name: reading.f1.mean for reading in made.readings}
    assert 0.6 <= made.readings[0].precision <= 0.85  # no easier
    assert f1["refined"] >= f1["weak"] + 0.15
    assert made.recovered is not None
    assert made.recovered >= 0.8


def test_what_it_writes_is_of_the_notion(pointed: tuple[Pointed, Path]) -> None:
    made, _ = pointed
    written = {each.name: each for each in made.written}
    base, steered, away = (written[name] for name in ("base", "steered", "reversed"))
    assert base.judged is not None
    assert steered.judged is not None
    assert away.judged is not None
    assert steered.judged.mean > base.judged.mean > away.judged.mean
    assert base.perplexity_ratio == 1.0
    assert base.distinct_2 == 1.0
    assert steered.perplexity_ratio < 1.3
    assert written["filtered"].weak.mean > steered.weak.mean


def test_documents_on_which_the_notions_differ_are_listed(pointed: tuple[Pointed, Path]) -> None:
    made, out = pointed
    assert 0 < len(made.differing) <= 10
    kept = {f"s{i}" for i, out in enumerate(held_out([f"s{i}" for i in range(160)], QUICK.held_out)) if out}
    for each in made.differing:
        assert each.id in kept
        assert (each.weak > 0.5) != (each.refined > 0.5)
        assert each.text
    assert "Where the two differ" in (out / "report.html").read_text()


def test_the_excess_is_counted_from_what_the_topic_takes_of_the_true_documents(
    pointed: tuple[Pointed, Path], stories: Path, corpus: Corpus, pointer: TopicScore
) -> None:
    made, _ = pointed
    truth = read_labels(stories / "truth.csv")
    said = [score.value > 0 for score in pointer.score([d.text for d in corpus if truth[d.id]])]
    assert made.among_true.mean == pytest.approx(np.mean(said))
    for written in made.written:
        takes = [score.value > 0 for score in pointer.score(list(written.texts))]
        assert written.weak.mean == pytest.approx(np.mean(takes))
        assert written.excess.mean == pytest.approx(np.mean(takes) - np.mean(said))


def test_cells_are_counted_by_truth_and_flavour(pointed: tuple[Pointed, Path]) -> None:
    made, _ = pointed
    cells = made.readings[0].cells
    assert set(cells) == {f"truth {t}, flavour {f}" for t in ("yes", "no") for f in ("yes", "no")}
    kept = held_out([f"s{i}" for i in range(160)], QUICK.held_out).sum()
    assert sum(count for _, count in cells.values()) == kept


def test_the_folder_is_a_recognizer_and_an_intervention(pointed: tuple[Pointed, Path], tiny: LM) -> None:
    made, out = pointed
    asked: list[str] = []

    def open_model(name: str) -> LM:
        asked.append(name)
        return tiny

    again = load_fitted(str(out), open_model)
    assert asked == [tiny.resident.name]
    texts = ["Late one night a thief came.", "", "They lived happily ever after."]
    first, second = made.recognizer.score(texts), again.score(texts, None)
    assert [s.value for s in first[::2]] == [s.value for s in second[::2]]
    assert second[1].reason == "the text is empty"
    loaded = load_intervention(out)
    for strength in (1.0, -1.0):
        one, two = (
            each.apply(tiny, strength).generate(PROMPT, 2, 12) for each in (made.intervention, loaded)
        )
        assert [s.token_ids for s in one] == [s.token_ids for s in two]
    record = json.loads((out / "pointed.json").read_text())
    assert record["notion"]["method"] == "intersection"
    assert "report.html" in json.loads((out / "manifest.json").read_text())["files"]


def test_the_truth_steers_nothing(
    pointed: tuple[Pointed, Path], tiny: LM, corpus: Corpus, pointer: TopicScore
) -> None:
    made, _ = pointed
    settings = replace(QUICK, n=0)
    blind = point(tiny, pointer, corpus, settings, prompts=[PROMPT])
    assert torch.equal(blind.recognizer.weight, made.recognizer.weight)
    assert blind.recognizer.bias == made.recognizer.bias
    assert torch.equal(blind.intervention.weight, made.intervention.weight)  # type: ignore[attr-defined]
    assert blind.readings == ()
    assert blind.recovered is None
    assert blind.written == ()
    assert "No truth was given" in blind.notes[0]


def test_a_vector_can_be_asked_for(tiny: LM, corpus: Corpus, pointer: TopicScore, tmp_path: Path) -> None:
    settings = replace(QUICK, n=0, steer="vector", max_new_tokens=12)
    made = point(tiny, pointer, corpus, settings, prompts=[PROMPT])
    save(made, tmp_path / "v")
    assert made.intervention.kind == "vector"
    assert load_intervention(tmp_path / "v").facts["selection"]["trials"]


def test_user_text_is_escaped(tiny: LM, pointer: TopicScore, stories: Path, tmp_path: Path) -> None:
    lines = (stories / "docs.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    (tmp_path / "d.jsonl").write_text(
        "\n".join(json.dumps({"id": f"<script>{row['id']}", "text": row["text"]}) for row in rows)
    )
    settings = replace(QUICK, n=2, max_new_tokens=4)
    save(point(tiny, pointer, open_corpus(tmp_path / "d.jsonl"), settings, prompts=["<b>"]), tmp_path / "o")
    page = (tmp_path / "o" / "report.html").read_text()
    assert "<script" not in page
    assert "<b>" not in page


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({"other": True}, "No document of the corpus has a label"),
        ({f"s{i}": True for i in range(160)}, "are all the same"),
    ],
)
def test_labels_that_measure_nothing_are_refused(
    labels: dict[str, bool], message: str, tiny: LM, corpus: Corpus, pointer: TopicScore
) -> None:
    with pytest.raises(UserError, match=message):
        point(tiny, pointer, corpus, replace(QUICK, n=0), truth=labels)


def test_a_topic_that_points_at_nothing_is_refused(tiny: LM, corpus: Corpus, pointer: TopicScore) -> None:
    flat = TopicScore(replace(pointer.model, components=np.ones_like(pointer.model.components)), 0)
    with pytest.raises(UserError, match="points at nothing"):
        point(tiny, flat, corpus, replace(QUICK, n=0))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "guess"}, "method must be one of"),
        ({"steer": "hope"}, "steer must be"),
        ({"held_out": 1.0}, "held_out"),
        ({"width": 1}, "width"),
        ({"n": -1}, "n must be"),
        ({"layers": "x"}, "layers must be"),
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**wrong)  # type: ignore[arg-type]


def test_a_notion_of_another_model_is_refused(pointed: tuple[Pointed, Path], mini: LM) -> None:
    with pytest.raises(UserError, match="load the model that it was made with"):
        NotionScore.load(pointed[1], None, lambda _: mini)


def test_passages_of_one_file_are_held_out_together() -> None:
    sides = held_out([f"book-{k}.txt#{i}" for k in range(40) for i in range(5)], 0.3).reshape(40, 5)
    assert (sides == sides[:, :1]).all()
    share = held_out([f"book-{k}.txt" for k in range(3000)], 0.3).mean()
    assert abs(share - 0.3) < 0.03


def test_a_single_file_is_held_out_in_part_and_a_name_need_not_be_utf8() -> None:
    for share in (0.3, 0.7):
        assert abs(held_out([f"caf\udce9.txt#{i}" for i in range(1000)], share).mean() - share) < 0.05
    assert 0 < held_out([f"one.txt#{i}" for i in range(20)], 1e-9).sum() < 20


@pytest.mark.parametrize("files", [2, 3, 4])
def test_of_a_few_files_whole_ones_are_held_out(files: int) -> None:
    for trial in range(20):
        ids = [f"{trial}-{k}.txt#{i}" for k in range(files) for i in range(5)]
        for share in (0.01, 0.3, 0.99):
            sides = held_out(ids, share).reshape(files, 5)
            assert (sides == sides[:, :1]).all()
            assert 0 < sides[:, 0].sum() < files


def test_documents_that_are_held_out_change_nothing_that_is_fitted(
    pointed: tuple[Pointed, Path], tiny: LM, stories: Path, pointer: TopicScore, tmp_path: Path
) -> None:
    made, _ = pointed
    rows = [json.loads(line) for line in (stories / "docs.jsonl").read_text().splitlines()]
    kept = held_out([row["id"] for row in rows], QUICK.held_out)
    for row in (row for row, out in zip(rows, kept, strict=True) if out):
        row["text"] = "The police of Quill."
    (tmp_path / "docs.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    again = point(tiny, pointer, open_corpus(tmp_path / "docs.jsonl"), replace(QUICK, n=0), prompts=[PROMPT])
    # other batches round otherwise
    close = partial(torch.testing.assert_close, rtol=1e-3, atol=1e-4)
    close(again.recognizer.weight, made.recognizer.weight)
    close(again.recognizer.bias, made.recognizer.bias)
    close(again.intervention.weight, made.intervention.weight)  # type: ignore[attr-defined]
    close(again.intervention.bias, made.intervention.bias)  # type: ignore[attr-defined]
