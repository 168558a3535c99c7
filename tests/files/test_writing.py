"""Atomic writes: a failure leaves the older file, and nothing beside it."""

from __future__ import annotations

import errno
import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from dipole.files import _writing, write_bytes_atomic, write_json_atomic, write_text_atomic
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

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match=r"note\.txt.*out=…") as caught:
        write_text_atomic(path, "new")
    assert ("full" in str(caught.value)) == (code == errno.ENOSPC)
    assert path.read_text("utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["note.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real ENOSPC: the temporary sibling is the device that is always full."""
    path = tmp_path / "note.txt"
    write_text_atomic(path, "old")
    real = _writing._write_synced
    monkeypatch.setattr(_writing, "_write_synced", lambda _, data: real(Path("/dev/full"), data))
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


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs devices that are files")
def test_what_is_not_a_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """A device, a pipe: a rename would put a file in its place."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="not a regular file"):
        write_text_atomic(pipe, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert pipe.is_fifo()


def test_a_name_of_full_length_can_be_written(tmp_path: Path) -> None:
    """File names have 255 bytes, and a letter up to four."""
    for name in ("n" * 255, "é" * 127, "\N{PAPERCLIP}" * 63):
        write_text_atomic(tmp_path / name, "new")
        assert (tmp_path / name).read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 3
