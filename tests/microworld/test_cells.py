"""Stories in four cells."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from dipole.corpora.corpus import open_corpus, read_labels
from dipole.microworld import judge
from dipole.microworld.cells import main, write_cells
from dipole.microworld.stories import has_crime_words
from dipole.types import UserError


def test_cells_are_equal_and_the_labels_true(tmp_path: Path) -> None:
    write_cells(tmp_path / "s", 30, seed=1)
    truth, crime = (read_labels(tmp_path / "s" / f"{name}.csv") for name in ("truth", "crime"))
    documents = list(open_corpus(tmp_path / "s" / "docs.jsonl"))
    assert Counter((truth[d.id], crime[d.id]) for d in documents) == {
        (plot, words): 30 for plot in (True, False) for words in (True, False)
    }
    assert all(has_crime_words(d.text) == crime[d.id] for d in documents)
    assert all(judge.is_detective(d.text) == truth[d.id] for d in documents)
    # in random order: a reader who takes the first half gets all cells
    assert 20 < sum(truth[d.id] for d in documents[:60]) < 40


def test_the_same_seed_gives_the_same_stories(tmp_path: Path) -> None:
    for name, seed in (("a", 2), ("b", 2), ("c", 3)):
        write_cells(tmp_path / name, 3, seed)
    a, b, c = ((tmp_path / name / "docs.jsonl").read_bytes() for name in "abc")
    assert a == b != c


def test_a_folder_in_use_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["--cell", "2", "--out", str(tmp_path)]) == 2
    assert "not made by dipole" in capsys.readouterr().err
    assert main(["--cell", "2", "--out", str(tmp_path / "s")]) == 0
    assert main(["--cell", "2", "--out", str(tmp_path / "s")]) == 2
    assert main(["--cell", "1", "--out", str(tmp_path / "s"), "--overwrite"]) == 0
    assert len((tmp_path / "s" / "docs.jsonl").read_text().splitlines()) == 4
    with pytest.raises(UserError, match="at least 1"):
        write_cells(tmp_path / "t", 0, 0)


def test_lines_are_json_of_id_and_text(tmp_path: Path) -> None:
    write_cells(tmp_path / "s", 1, seed=0)
    for line in (tmp_path / "s" / "docs.jsonl").read_text().splitlines():
        assert set(json.loads(line)) == {"id", "text"}
