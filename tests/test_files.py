"""Atomic writes and output folders: a failure leaves the older file, and only what is ours is removed."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dipole import files
from dipole.files import (
    MARKER,
    prepare_output,
    staged,
    write_bytes_atomic,
    write_json_atomic,
    write_manifest,
    write_text_atomic,
)
from dipole.types import UserError


def test_text_is_written_and_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "note.txt"
    write_text_atomic(path, "one")
    write_text_atomic(path, "zwei ✓ \udcff")
    assert path.read_text("utf-8") == "zwei ✓ \\udcff"
    assert [p.name for p in path.parent.iterdir()] == ["note.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_failing_write_leaves_the_older_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = tmp_path / "note.txt"
    write_text_atomic(path, "old")

    def fail(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(UserError, match=r"note\.txt.*--out") as caught:
        write_text_atomic(path, "new")
    assert ("full" in str(caught.value)) == (code == errno.ENOSPC)
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real ENOSPC: the temporary sibling is the device that is always full."""
    path = tmp_path / "note.txt"
    write_text_atomic(path, "old")
    real = files._write_synced
    monkeypatch.setattr(files, "_write_synced", lambda _, data: real(Path("/dev/full"), data))
    with pytest.raises(UserError, match="disk is full"):
        write_bytes_atomic(path, b"x" * 100_000)
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file"):
        write_text_atomic(tmp_path / "file" / "note.txt", "new")


def test_json_is_strict(tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Inner:
        values: tuple[float, ...]

    path = tmp_path / "a.json"
    value = {
        "inner": Inner((1.5, math.nan, math.inf)),
        "path": Path("x"),
        "whole": np.int64(3),
        "real": np.float32(0.5),
        "yes": True,
        "set": {"b", "a"},
        "surrogate": "\udcff é",
    }
    write_json_atomic(path, value)
    assert json.loads(path.read_text("utf-8"), parse_constant=pytest.fail) == {
        "inner": {"values": [1.5, None, None]},
        "path": "x",
        "whole": 3,
        "real": 0.5,
        "yes": True,
        "set": ["a", "b"],
        "surrogate": "\udcff é",
    }


def test_output_is_made_and_then_refused(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "clips"
    prepare_output(folder)
    assert (folder / MARKER).is_file()
    with pytest.raises(UserError, match="--overwrite to replace it, --resume"):
        prepare_output(folder)
    prepare_output(folder, resume=True)


def test_empty_folder_is_taken(tmp_path: Path) -> None:
    prepare_output(tmp_path)
    assert (tmp_path / MARKER).is_file()


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}])
def test_foreign_folder_is_left_alone(tmp_path: Path, options: dict[str, bool]) -> None:
    (tmp_path / "report.md").write_text("mine")
    (tmp_path / "manifest.json").write_text('{"name": "a web app"}')
    with pytest.raises(UserError, match=r"left alone|no run to resume"):
        prepare_output(tmp_path, **options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["manifest.json", "report.md"]
    assert (tmp_path / "report.md").read_text() == "mine"


@pytest.mark.parametrize("mark", [MARKER, "manifest.json"])
def test_overwrite_removes_only_what_is_ours(tmp_path: Path, mark: str) -> None:
    folder, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    for path in (folder / "adapter", elsewhere):
        path.mkdir(parents=True)
        (path / "weights").write_text("w")
    (folder / mark).write_text('{"made_by": "dipole"}')
    (folder / "report.html").write_text("old")
    (folder / "notes.txt").write_text("mine")
    (folder / "tensorboard").symlink_to(elsewhere, target_is_directory=True)
    prepare_output(folder, overwrite=True)
    assert sorted(p.name for p in folder.iterdir()) == [MARKER, "notes.txt"]
    assert (elsewhere / "weights").read_text() == "w"


def test_overwrite_that_can_not_write_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_output(tmp_path)
    (tmp_path / "report.html").write_text("old")

    def fail(path: Path, data: bytes) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(files, "_write_synced", fail)
    with pytest.raises(UserError, match="permission is denied"):
        prepare_output(tmp_path, overwrite=True)
    assert (tmp_path / "report.html").read_text() == "old"


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run to resume"):
        prepare_output(tmp_path / "new", resume=True)
    assert not (tmp_path / "new").exists()


def test_wishes_that_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="choose one"):
        prepare_output(tmp_path, overwrite=True, resume=True)


def test_output_that_is_a_file_or_below_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match="is a file"):
            prepare_output(folder)


def test_replacing_removes_what_the_manifest_lists_inside_the_folder_alone(tmp_path: Path) -> None:
    outside = tmp_path / "thesis.tex"
    outside.write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    names = ["dipole.json", "parts", "../thesis.tex", str(outside), "..", ".", "", 3, "gone"]
    (run / "dipole.json").write_text("{}")
    (run / "notes.md").write_text("mine")
    write_text_atomic(run / "parts" / "a", "x")
    write_json_atomic(run / "manifest.json", {"made_by": "dipole", "files": names})
    prepare_output(run, overwrite=True)
    assert sorted(p.name for p in run.iterdir()) == [MARKER, "notes.md"]
    assert outside.read_text() == "mine"


def test_a_file_of_the_user_is_not_replaced_although_it_has_our_name(tmp_path: Path) -> None:
    def write(*names: str) -> None:
        with staged(tmp_path / "run", overwrite=True) as made:
            for name in names:
                (made / name).write_text("ours")
            write_manifest(made, {"made_by": "dipole"})

    write("report.html", "basin.json")
    write("report.html")  # what the manifest lists is replaced
    mine = tmp_path / "run" / "basin.json"
    assert not mine.exists()
    mine.write_text("mine")
    with pytest.raises(UserError, match=r"a file 'basin.json' that dipole did not write there"):
        write("basin.json")
    assert mine.read_text() == "mine"
    assert (tmp_path / "run" / "report.html").is_file()
    (aside,) = (path for path in tmp_path.iterdir() if path.name != "run")  # the work is not lost
    assert (aside / "basin.json").read_text() == "ours"
