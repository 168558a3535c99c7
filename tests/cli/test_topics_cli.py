"""`dipole topics`, and `dipole score` with what it made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import CLAIM, Cli
from themes import THEMES, documents

FAST = ("--topics", "3", "--iterations", "6", "--restarts", "2")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    for document in documents():
        (folder / f"{document.id}.txt").write_text(document.text)
    (folder / "photo.png").write_bytes(b"\x89PNG\0")
    return folder


def test_find_look_and_score(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "topics"
    done = cli("topics", corpus, *FAST, "--out", out, "--find", "murder， Thief")
    assert done.code == 0
    header, *rows = done.out.splitlines()[:4]
    assert header.split()[:2] == ["topic", "share"]
    assert [row.split()[0] for row in rows] == ["0", "1", "2"]
    assert "iteration 7/7" in done.err
    assert "1 left out: photo.png is no .txt" in done.err
    asked = int(done.out.split("asked for: topic ")[1].split(",")[0])
    assert set(rows[asked].split("  ")[-1].split(", ")) == set(THEMES["crime"])
    assert f"--recognizer {out}:{asked}" in done.err
    scored = cli(
        "score", "--recognizer", f"{out}:{asked}", "--json", "-", stdin=b"A murder, a clue.\nA ship.\nHm.\n"
    )
    assert scored.code == 0
    first, second, third = (json.loads(line) for line in scored.out.splitlines())
    assert first["log_odds"] > 0 > second["log_odds"]
    assert third["log_odds"] is None
    assert third["reason"] == "has no word that the topic model knows"
    again = cli("topics", corpus, *FAST, "--out", out, "--json", "--quiet", "--overwrite", "--like", corpus)
    assert again.code == 0
    records = [json.loads(line) for line in again.out.splitlines()]
    assert [record["topic"] for record in records] == [0, 1, 2]
    assert sum(record["chosen"] for record in records) == 1
    assert again.err.count("\n") == 1  # the warning of what was left out


def test_passages(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    done = cli(
        "topics", corpus, *FAST, "--words-per-document", "7", "--out", tmp_path / "t", "--json", "--quiet"
    )
    assert done.code == 0
    records = [json.loads(line) for line in done.out.splitlines()]
    assert sum(record["leading"] for record in records) > 100
    assert all("#" in example["id"] for record in records for example in record["examples"])


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "no corpus": (("topics", "{tmp}/absent", "--out", "{tmp}/t"), "There is no corpus"),
    "no text": (("topics", "{empty}", "--out", "{tmp}/t"), "holds no .txt"),
    "one document": (
        ("topics", "{one}", "--out", "{tmp}/t"),
        "1 document can't be told apart into 10 topics",
    ),
    "too few": (("topics", "{corpus}", "--topics", "61", "--out", "{tmp}/t"), "60 documents can't"),
    "one topic": (("topics", "{corpus}", "--topics", "1", "--out", "{tmp}/t"), "at least 2 topics"),
    "no iteration": (("topics", "{corpus}", "--iterations", "0", "--out", "{tmp}/t"), "iterations must be"),
    "no words": (("topics", "{corpus}", "--words-per-document", "0", "--out", "{tmp}/t"), "at least 1 word"),
    "no out": (("topics", "{corpus}"), "--out"),
    "out is the corpus": (("topics", "{corpus}", "--out", "{corpus}"), "was not made by dipole"),
    "empty find": (("topics", "{corpus}", "--find", " ,", "--out", "{tmp}/t"), "--find has no word"),
    "two choices": (("topics", "{corpus}", "--find", "a", "--like", "{one}", "--out", "{tmp}/t"), "Got both"),
    "item out of range": (("score", "--recognizer", "{topics}:30", "x"), "30: the model has topics 0 to 2"),
    "item is no number": (("score", "--recognizer", "{topics}:sea", "x"), "'sea' is no number of a topic"),
    "no item": (("score", "--recognizer", "{topics}", "x"), "holds 3 topics; say which one"),
    "not fitted": (("score", "--recognizer", "{corpus}", "x"), "it has no recognizer.json"),
    "no folder": (("score", "--recognizer", "absent:3", "x"), "no folder 'absent'"),
    "claim": (("score", "--recognizer", "{topics}:1", "--claim", CLAIM, "x"), "concept of its own"),
    "model": (("score", "--recognizer", "{topics}:1", "--model", "tiny", "x"), "leave out --model"),
    "prior": (("score", "--recognizer", "{topics}:1", "--prior-correction", "x"), "--prior-correction"),
    "misspelt": (
        ("score", "--recognizer", "velmo", "--claim", CLAIM, "--against", "No.", "x"),
        "Did you mean",
    ),
}


@pytest.fixture(scope="module")
def places(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    from dipole.cli import run

    base = tmp_path_factory.mktemp("places")
    (base / "empty").mkdir()
    (base / "one").mkdir()
    (base / "one" / "a.txt").write_text("A single document. " * 30)
    assert run(["topics", str(corpus), *FAST, "--out", str(base / "topics"), "--quiet"]) == 0
    return {"corpus": str(corpus), **{name: str(base / name) for name in ("empty", "one", "topics")}}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(cli: Cli, places: dict[str, str], tmp_path: Path, name: str) -> None:
    arguments, said = BAD[name]
    done = cli(*(argument.format(tmp=tmp_path, **places) for argument in arguments))
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert done.out == ""
    assert not list(tmp_path.iterdir())
