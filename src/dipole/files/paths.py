"""Paths that a user gave: expanded, looked at once, and refused in one sentence where they lead nowhere."""

from __future__ import annotations

import errno
import os
import stat
import warnings
from pathlib import Path

from dipole.types import DipoleWarning, UserError

_PROBLEMS = {
    errno.ELOOP: "is a link that leads back to itself; give the path of the thing itself",
    errno.EACCES: "can't be looked at (permission denied); make it readable, or give another",
    errno.EPERM: "can't be looked at (permission denied); make it readable, or give another",
    errno.ENAMETOOLONG: "has a name that is too long; give a path",
}
_ODD = (
    (stat.S_ISFIFO, "a pipe, which can't be read twice and need not end"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def given_path(text: str | Path, what: str = "The path") -> Path:
    """The path that a user means, with `~` expanded; nothing need be there.

    What it gives may be given to it again. Bytes that are no UTF-8 (surrogate escapes) are fine, as they are
    in file names.

    Args:
        text: As it was given.
        what: How an error calls it.

    Raises:
        UserError: It is empty, holds a NUL, names the home folder of nobody, is a circle of links, or can't
            be looked at.
    """
    shown = _shown(text)
    if not str(text).strip():
        raise UserError(f"{what} is an empty string; give a path.")
    if "\0" in str(text):
        raise UserError(f"{what} {shown} holds a NUL character, which no path has; give a path without it.")
    path = Path(text)
    if str(path).startswith("~") and not str(text).startswith("~"):
        path = Path(os.path.abspath(text))  # `./~x` is a folder of that name, which pathlib forgets
    try:
        path = path.expanduser()
    except RuntimeError:
        raise UserError(
            f"{what} {shown} begins with the home folder of somebody who has none here; write it out, or "
            f"./{str(text)[:40]} for what is really called so."
        ) from None
    _look(path, what, shown)
    return path


def given_file(text: str | Path, what: str = "The file") -> Path:
    """The file that a user means: a regular one, which can be read again and again and has an end.

    Args:
        text: As it was given.
        what: How an error calls it.

    Raises:
        UserError: As for `given_path`; or there is none, or it is a folder, a pipe, a socket or a device.
    """
    path = given_path(text, what)
    found = _look(path, what, _shown(text))
    if found is None:
        target = f" (it is a link to {_shown(os.readlink(path))})" if path.is_symlink() else ""
        wanted = what[:1].lower() + what[1:]
        raise UserError(f"There is no file {_shown(text)}{target}; wanted {wanted}.")
    if stat.S_ISDIR(found.st_mode):
        raise UserError(f"{what} {_shown(text)} is a folder; give a file.")
    for is_odd, name in _ODD:
        if is_odd(found.st_mode):
            raise UserError(f"{what} {_shown(text)} is {name}; write the content to a file, and give that.")
    return path


def same_place(one: str | Path, other: str | Path) -> bool:
    """Whether two paths that a user gave lead to one place, be anything there or not."""
    return os.path.realpath(given_path(one)) == os.path.realpath(given_path(other))


def tell_shadowed(name: str, what: str) -> None:
    """Warn where a file or folder in the working directory has a name that stands for something else.

    Args:
        name: A name that dipole knows, which therefore is no path.
        what: What the name stands for, such as `the bundled LM`.
    """
    if os.path.lexists(name):
        kind = "folder" if os.path.isdir(name) else "file"
        warnings.warn(
            f"{name!r} is {what}; the {kind} of that name in the working directory is ./{name}.",
            DipoleWarning,
            stacklevel=3,
        )


def _look(path: Path, what: str, shown: str) -> os.stat_result | None:
    """What is there; None where nothing is."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        problem = _PROBLEMS.get(error.errno or 0, f"can't be looked at ({error.strerror}); give another path")
        raise UserError(f"{what} {shown} {problem}.") from error


def _shown(text: str | Path) -> str:
    """A path in an error, not longer than a line."""
    whole = str(text)
    return repr(whole if len(whole) <= 120 else f"{whole[:60]}…{whole[-40:]}")
