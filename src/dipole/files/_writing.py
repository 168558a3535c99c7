"""Writing files: a reader sees the old file or the new one, and a failure is one clear sentence."""

from __future__ import annotations

import dataclasses
import json
import math
import numbers
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dipole.files import _names
from dipole.files._errors import explain
from dipole.types import UserError


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file in UTF-8 so that a reader sees the old file or the new one, never a part.

    Lone surrogates, which UTF-8 can't hold, are written as backslash escapes.

    Raises:
        UserError: The disk is full, the folder can't be written, …; an older file is left intact.
    """
    write_bytes_atomic(path, text.encode("utf-8", errors="backslashreplace"))


def write_json_atomic(path: Path, value: Any) -> None:
    """Write strict JSON: dataclasses become objects, paths strings, and NaN or infinity null.

    Raises:
        UserError: As for `write_text_atomic`.
    """
    plain = to_plain(value)
    text = json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(plain, indent=2, ensure_ascii=True, allow_nan=False)
    write_text_atomic(path, text + "\n")


def write_bytes_atomic(path: Path, data: bytes) -> None:
    """Write a file through a temporary sibling, synced to disk before it takes the name.

    Raises:
        UserError: As for `write_text_atomic`.
    """
    temporary = _names.temporary(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UserError(f"Can't write {path}: it is not a regular file; choose another name.")
        try:
            _write_synced(temporary, data)
            os.replace(temporary, path)
        finally:
            with suppress(OSError):  # after os.replace there is nothing left under this name
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise explain(path, error) from error


@contextmanager
def writing_text(path: Path) -> Iterator[IO[str]]:
    """A text stream in UTF-8 for what is too much to hold; the file has the name at the end of the block.

    Raises:
        UserError: As for `write_text_atomic`. When the block raises, there is no file.
    """
    temporary = _names.temporary(path)
    try:
        try:
            with temporary.open("w", encoding="utf-8") as stream:
                yield stream
            os.replace(temporary, path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise explain(path, error) from error


def _write_synced(path: Path, data: bytes) -> None:
    with path.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def to_plain(value: Any) -> Any:
    """The value as what JSON can hold; see `write_json_atomic`. Anything unknown becomes its `str`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):  # numpy's scalars too
        return float(value) if math.isfinite(value) else None
    if isinstance(value, set | frozenset):
        return [to_plain(item) for item in sorted(value, key=str)]
    if isinstance(value, Sequence) and not isinstance(value, bytes):
        return [to_plain(item) for item in value]
    return str(value)
