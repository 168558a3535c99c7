"""The commands `write` and `judge`: exit codes, atomic files, one clear sentence on bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipole.microworld import gates, train, write
from dipole.microworld.judge.__main__ import main as judge


def test_write_then_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "docs.jsonl"
    assert write.main(["-n", "120", "--seed", "5", "--out", str(path)]) == 0
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 120
    assert all(line.keys() == {"text", "truth"} for line in lines)
    assert judge([str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sum(form["documents"] for form in found.values()) == 120
    assert all(form["agreeing"] == form["documents"] for form in found.values())
    assert judge([str(path)]) == 0
    assert "choice" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == [path]


def test_write_never_replaces_a_file_unasked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text("mine", encoding="utf-8")
    assert write.main(["-n", "3", "--out", str(path)]) == 2
    assert path.read_text(encoding="utf-8") == "mine"
    assert "--force" in capsys.readouterr().err
    assert write.main(["-n", "3", "--out", str(path), "--force"]) == 0
    assert len(path.read_text(encoding="utf-8").splitlines()) == 3


@pytest.mark.parametrize("n", ["0", "-4"])
def test_write_wants_a_positive_number(n: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write.main(["-n", n, "--out", str(tmp_path / "docs.jsonl")]) == 2
    assert "positive" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_write_says_when_the_folder_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert write.main(["-n", "1", "--out", str(tmp_path / "no" / "docs.jsonl")]) == 2
    assert "Cannot write" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "not json\n", '{"text": "Cats."}\n', '{"text": "Cats.", "truth": {}}\n', "[1]\n"]
)
def test_judge_says_what_it_cannot_read(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text(content, encoding="utf-8")
    assert judge([str(path)]) == 2
    assert str(path) in capsys.readouterr().err
    assert judge([str(tmp_path / "missing.jsonl")]) == 2


def test_train_and_gates_want_sense(tmp_path: Path) -> None:
    assert train.main(["--size", "tiny", "--out", str(tmp_path)]) == 2
    assert gates.main([str(tmp_path)]) == 2
