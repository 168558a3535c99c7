"""A disk that is full, a quota that is used up, a folder that turns read-only: at every single moment."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dipole.types import UserError
from files.test_kills import (
    MINE,
    NEW,
    OLD,
    next_start,
    old_result,
    replace_it,
    result_in,
    run_it,
    tree,
    write_stream,
    write_whole,
)

pytestmark = pytest.mark.usefixtures("_no_sync")
WRITES = ("os.mkdir",)
CHANGES = (*WRITES, "os.rename", "os.remove", "os.rmdir")


@pytest.fixture
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def failing_from(moment: int, code: int, work: Callable[[], object]) -> str | None:
    """Do it in a child for which every change fails from the n-th on; what it says, None if all went well.

    On a full disk names can still be changed and removed.
    """
    failing = WRITES if code in (errno.ENOSPC, errno.EDQUOT) else CHANGES
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        left = moment

        def fail(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            opened = event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT
            left -= event in CHANGES or bool(opened)
            if left <= 0 and (event in failing or opened):
                raise OSError(code, os.strerror(code), str(arguments[0]))

        try:
            sys.addaudithook(fail)
            work()
            os._exit(0)
        except UserError as error:
            os.write(write, str(error).encode())
            os._exit(2)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.__stderr__)
        os._exit(1)
    os.close(write)
    with os.fdopen(read) as stream:
        said = stream.read()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, 2), "the child failed"
    return said if ended else None


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("work", [replace_it, run_it])
def test_a_folder_that_can_not_be_written_any_more(
    work: Callable[[Path], None], code: int, tmp_path: Path
) -> None:
    folder, moment, seen = tmp_path / "runs" / "run", 0, []
    while True:
        moment += 1
        old_result(folder)
        said = failing_from(moment, code, lambda: work(folder))
        assert result_in(folder) in (OLD, NEW), moment
        next_start(folder)
        assert result_in(folder) in (OLD, NEW), moment
        assert {name: text for name, text in tree(folder).items() if name in MINE} == MINE
        for other in folder.parent.iterdir():  # what could not be put in place is kept, and its name said
            assert other == folder or str(other) in (said or ""), moment
        seen.append(said)
        if said is None:
            break
    assert moment > 8
    assert all(text.startswith("Can't write") and text.count(". ") == 0 for text in seen[:-1])


@pytest.mark.parametrize("write", [write_whole, write_stream])
def test_a_file_that_can_not_be_written(write: Callable[[Path], None], tmp_path: Path) -> None:
    path, moment = tmp_path / "files" / "clips.gguf", 0
    while True:
        moment += 1
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir()
        path.write_text("old")
        said = failing_from(moment, errno.ENOSPC, lambda: write(path))
        assert path.read_text() == ("new" if said is None else "old")
        assert os.listdir(path.parent) == [path.name]
        if said is None:
            break
        assert "the disk is full" in said
    assert moment > 2
