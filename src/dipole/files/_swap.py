"""Putting a new folder in the place of an old one, so that a kill at any moment leaves one of them whole.

What was made is first renamed to a name that says it is ready, with a note in its marker of what it replaces;
from then on every step can be done again by whoever comes next. Where the file system can exchange two names
at once, there is no moment without a whole folder; elsewhere (some network file systems, a mount point, the
working directory of a shell) the files are moved in one by one, and `settle` ends what was broken off.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import sys
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipole.files import _names
from dipole.files._writing import write_text_atomic

MARKER = ".dipole-run"
# What makes a folder one that can be loaded; put in place after everything else.
LAST = ("adapter_config.json", "dipole.json", "lm.json", "recognizer.json", "manifest.json")
_SENTENCE = "This folder is the output of a dipole run.\n"
_AT_FDCWD, _RENAME_EXCHANGE, _RENAME_SWAP = -100, 2, 2


@dataclass(frozen=True)
class _Note:
    """What the marker of a new folder says about its way into place.

    Attributes:
        token: What the folder's name has while it is ready.
        replaces: Names in the old folder that were dipole's.
        holds: Names in the new one.
    """

    token: str = ""
    replaces: Sequence[str] = ()
    holds: Sequence[str] = ()


def mark(folder: Path, note: _Note = _Note()) -> None:
    """Write the marker.

    Raises:
        UserError: The folder can't be written.
    """
    said = json.dumps(vars(note)) + "\n" if note.token else ""
    write_text_atomic(folder / MARKER, _SENTENCE + said)


def put_in_place(made: Path, place: Path, ours: Collection[str]) -> None:
    """Give the folder `made` the name `place`; what is there already, and not `ours`, stays there.

    Args:
        made: A finished folder on the same file system.
        place: Path without links; its lock is held.
        ours: Names in the folder that is there which may go.
    """
    if not place.exists():
        mark(made)
        os.rename(made, place)
        return
    token = secrets.token_hex(4)
    mark(made, _Note(token, sorted(ours), sorted({MARKER, *(path.name for path in made.iterdir())})))
    with suppress(OSError):  # of a folder that is somebody else's
        shutil.copymode(place, made)
    os.rename(made, _names.annexe(place) / f".{_names.label(place.name)}.{token}.{_names.READY}")
    settle(place)


def settle(place: Path) -> None:
    """End what was broken off while a folder was put in place; its lock is held."""
    for ready in _waiting(place):
        if not place.is_dir():  # the user has taken it away since
            continue
        token = ready.name.split(".")[-3]
        note = _read(ready)
        if note.token == token:
            if not _exchange(ready, place):
                _move_in(ready, place, note)
                continue
        else:
            note = _read(place)
        if note.token == token:  # now `ready` is the old folder
            _move_back(ready, place, note)
        elif not any(ready.iterdir()):
            ready.rmdir()


def is_unsettled(place: Path) -> bool:
    """Whether something was broken off there."""
    return bool(_waiting(place))


def _waiting(place: Path) -> list[Path]:
    found = _names.found_in(_names.annexe(place)).get(_names.label(place.name), [])
    return [path for path in found if path.name.endswith(f".{_names.READY}")]


def _read(folder: Path) -> _Note:
    try:
        said = json.loads((folder / MARKER).read_text("utf-8").partition("\n")[2])
        return _Note(str(said["token"]), list(map(str, said["replaces"])), list(map(str, said["holds"])))
    except (OSError, ValueError, TypeError, KeyError):
        return _Note()


def _move_in(ready: Path, place: Path, note: _Note) -> None:
    """Move the files of the new folder into the old one, the marker with the note last."""
    for name in sorted({*note.replaces} - {*note.holds}):
        _remove(place / name)
    names = sorted(os.listdir(ready), key=lambda name: (name == MARKER, name in LAST, name))
    for name in names:
        target = place / name
        if target.is_symlink() or target.exists():
            if name in note.replaces:
                _remove(target)
            else:
                os.rename(target, _free(target))
        os.rename(ready / name, target)
    ready.rmdir()


def _move_back(old: Path, place: Path, note: _Note) -> None:
    """Move what was not dipole's from the old folder into the new one, and remove the old one."""
    for name in sorted(os.listdir(old)):
        if name not in note.replaces:
            os.rename(old / name, _free(place / name))
    shutil.rmtree(old, ignore_errors=True)


def _free(path: Path) -> Path:
    taken = path.is_symlink() or path.exists()
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}") if taken else path


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names of folders change places in one step; False where that can't be."""
    if one.parent == other or _is_in(other):
        return False
    libc: Any = ctypes.CDLL(None, use_errno=True)
    with suppress(AttributeError):  # a system that has no such call
        if sys.platform == "darwin":
            return bool(libc.renamex_np(os.fsencode(one), os.fsencode(other), _RENAME_SWAP) == 0)
        done = libc.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE)
        return bool(done == 0)
    return False


def _is_in(folder: Path) -> bool:
    """Whether this process, and with it the user's shell, has its working directory there."""
    try:
        here = Path.cwd()
    except OSError:  # it is gone
        return False
    return here == folder or folder in here.parents
