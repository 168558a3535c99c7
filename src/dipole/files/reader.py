"""Reading from disk: the one way in which JSON, TOML and plain text of others get into this program.

What comes from a file is bounded in size, in depth and in its numbers before anything looks at it, so no file
ends in a traceback, in a program that hangs, or in a read outside the folder that was named.
"""

from __future__ import annotations

import json
import math
import os
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from dipole.types import UserError

MOST_BYTES = 1 << 26
MOST_DEPTH = 64
_LARGEST = 2**63
_LONGEST_KEY = 16
# tomllib's work grows with the square of the parts of a dotted key.
_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*"""
_DEEP_KEY = re.compile(rf"(?:^|[{{,\[])[ \t]*(?:{_KEY}){{{_LONGEST_KEY}}}", re.MULTILINE)

COPY_AGAIN = "it is truncated or corrupt, so copy it again from where it was made"


class Unreadable(ValueError):
    """Text that is not what it should be; the message says why, without the name of the file."""


def read_bytes(path: Path, remedy: str = COPY_AGAIN, most: int = MOST_BYTES) -> bytes:
    """The content of a plain file.

    Args:
        path: The file.
        remedy: What to do if it can't be read.
        most: Size from which on it is refused.

    Raises:
        UserError: It is missing, too large, or no plain file (a folder, a pipe, a device).
    """
    try:
        require_plain(path, most)
        with path.open("rb") as stream:
            data = stream.read(most + 1)
    except FileNotFoundError:
        raise UserError(f"There is no file {path}; {remedy}.") from None
    except (OSError, ValueError) as error:
        raise unreadable(path, getattr(error, "strerror", None) or str(error), remedy) from error
    if len(data) > most:
        raise unreadable(path, f"it has more than {most} bytes", remedy)
    return data


def require_plain(path: Path, most: int) -> None:
    """Refuse what would hang or fill the memory when it is read.

    Raises:
        OSError: It is not there or can't be reached.
        Unreadable: It is no plain file, or larger than `most` bytes.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable("it is a folder" if stat.S_ISDIR(found.st_mode) else "it is no plain file")
    if found.st_size > most:
        raise Unreadable(f"it has {found.st_size} bytes, and at most {most} are read")


def read_text(path: Path, remedy: str = COPY_AGAIN, most: int = MOST_BYTES) -> str:
    """The content of a text file in UTF-8, without its byte-order mark.

    Raises:
        UserError: As for `read_bytes`, or it is not UTF-8.
    """
    try:
        return read_bytes(path, remedy, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise unreadable(path, f"byte {error.start} is not UTF-8", remedy) from error


def read_json(path: Path, remedy: str = COPY_AGAIN) -> Any:
    """Plain data from a JSON file.

    Raises:
        UserError: As for `read_text`, or as for `parse_json`.
    """
    text = read_text(path, remedy)
    try:
        return parse_json(text)
    except Unreadable as error:
        raise unreadable(path, str(error), remedy) from error


def parse_json(text: str, finite: bool = True) -> Any:
    """Plain data from strict JSON.

    Args:
        text: JSON.
        finite: Refuse numbers that are not finite or beyond 64 bits, and keys that stand twice; off for a
            file of others of which only some texts are used.

    Raises:
        Unreadable: It is no JSON, or nested deeper than `MOST_DEPTH`.
    """
    options: dict[str, Any] = {}
    if finite:
        options = {
            "parse_constant": _no_constant,
            "parse_float": _finite,
            "parse_int": _bounded,
            "object_pairs_hook": _once,
        }
    try:
        data = json.loads(text, **options)
    except RecursionError:
        raise Unreadable(f"it is nested deeper than {MOST_DEPTH} levels") from None
    except Unreadable:
        raise
    except ValueError as error:
        raise Unreadable(f"it is no JSON: {error}") from None
    _require_shallow(data)
    return data


def parse_toml(text: str) -> dict[str, Any]:
    """Plain data from TOML.

    Raises:
        Unreadable: It is no TOML, nested deeper than `MOST_DEPTH`, or holds a number that is not finite.
    """
    if _DEEP_KEY.search(text):
        raise Unreadable(f"it has a dotted key of more than {_LONGEST_KEY} parts")
    try:
        data = tomllib.loads(text, parse_float=_finite)
    except RecursionError:
        raise Unreadable(f"it is nested deeper than {MOST_DEPTH} levels") from None
    except Unreadable:
        raise
    except ValueError as error:  # tomllib's own, and that of a number with thousands of digits
        raise Unreadable(f"it is not valid TOML: {error}") from None
    _require_shallow(data)
    return data


def unreadable(path: Path, why: str, remedy: str) -> UserError:
    """The error for a file that can't be read."""
    return UserError(f"{path} can't be read ({' '.join(why.split())[:200]}); {remedy}.")


def inside(folder: Path, name: str) -> Path:
    """A file or folder that lies in an artefact's folder, wherever links lead.

    Args:
        folder: The artefact's folder.
        name: What one of its files calls it, or its usual name.

    Raises:
        UserError: It leads out of the folder.
    """
    path = folder / name
    try:
        if not name or "\0" in name or os.path.isabs(name):
            raise ValueError
        path.resolve().relative_to(_home_of(folder).resolve())
    except (ValueError, OSError, RuntimeError):  # RuntimeError: links in a circle
        raise UserError(
            f"{name[:100]!r} in {folder} leads out of that folder, so it is not read; put the file itself "
            "there."
        ) from None
    return path


def _home_of(folder: Path) -> Path:
    """Where an artefact's files may lie: its folder, or the hub's cache, whose snapshots link to blobs."""
    place = Path(os.path.abspath(folder))
    return place.parent.parent if place.parent.name == "snapshots" else place


def _require_shallow(data: Any) -> None:
    level = [data]
    for _ in range(MOST_DEPTH + 1):
        level = [child for value in level for child in _children(value)]
        if not level:
            return
    raise Unreadable(f"it is nested deeper than {MOST_DEPTH} levels")


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        return (v for v in value.values() if isinstance(v, dict | list))
    return (v for v in value if isinstance(v, dict | list)) if isinstance(value, list) else iter(())


def _no_constant(name: str) -> NoReturn:
    raise Unreadable(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Unreadable(f"{text[:40]} is no finite number")
    return value


def _bounded(text: str) -> int:
    if len(text) > 20 or not -_LARGEST <= int(text) < _LARGEST:
        raise Unreadable(f"the whole number {text[:20]}… is beyond 64 bits")
    return int(text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise Unreadable(f"the key {twice[:40]!r} stands twice")
    return made
