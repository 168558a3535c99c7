"""A file or folder for one command alone, and the clearing up after one that was killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dipole.files import _names
from dipole.files._errors import explain
from dipole.files._locks import held, is_main_process, resolved
from dipole.files._signals import undisturbed
from dipole.files._swap import is_unsettled, settle, show_orphans
from dipole.types import UserError


@contextmanager
def claimed(path: Path) -> Iterator[Path]:
    """A file or folder for this command alone; what was left there by one that was killed is cleared up.

    A process that only helps another one writes nothing, and claims nothing.

    Args:
        path: What will be written; the block gets it without links and dots.

    Raises:
        UserError: Another command works on it, or it can't be written.
    """
    if not is_main_process():
        yield resolved(path)
        return
    with held(path) as place:
        try:
            _clear_up(place)
            show_orphans(place)
            _clear_up_others(place)
        except OSError as error:
            raise explain(path, error) from error
        try:
            yield place
        finally:
            with undisturbed(), suppress(OSError):
                _clear_up(place)


def _clear_up(place: Path) -> None:
    settle(place)
    for path in _names.found_in(_names.annexe(place)).get(_names.label(place.name), []):
        if path.name.endswith(_names.TEMPORARY):
            remove(path)


def _clear_up_others(place: Path) -> None:
    """The same for what else was left in the folder, where nobody works on it."""
    folder = _names.annexe(place)
    for name in _names.found_in(folder):
        other = folder / name
        if other != place and _names.annexe(other) == folder:
            with suppress(UserError, OSError), held(other, patience=0):
                _clear_up(other)


def remove(path: Path) -> None:
    """Remove a file, or a folder as far as that goes; a link, and not what it leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        path.unlink(missing_ok=True)


def settled(folder: Path) -> None:
    """Before a folder is read: end what was broken off while it was put in place, if nobody is at it."""
    with suppress(UserError, OSError):
        if is_unsettled(resolved(folder)):
            with claimed(folder):
                pass
