"""Reading and writing of concept files: TOML, with errors that say what to mend."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dipole.files import write_text_atomic
from dipole.files.paths import given_file
from dipole.files.reader import Unreadable, parse_toml, read_text
from dipole.files.schema import unknown_key
from dipole.types import UserError


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file in UTF-8.

    Raises:
        UserError: The file is missing, can't be read, or is not TOML in UTF-8.
    """
    given_file(path, "The TOML file")
    text = read_text(path, "give a TOML file in UTF-8 with `claim` and `against`")
    try:
        return parse_toml(text)
    except Unreadable as error:
        raise UserError(f"{path} can't be used: {error}. Texts stand in double quotes.") from None


def refuse_unknown_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise a `UserError` that names the first key that isn't known, and the nearest that is."""
    for key in table:
        if key not in known:
            raise UserError(f"{where} has an {unknown_key(key, known)}.")


def write_new(path: Path, text: str, overwrite: bool) -> None:
    """Write a file atomically, over another only where that was asked for.

    Raises:
        UserError: The file exists, or can't be written.
    """
    if path.exists() and not overwrite:
        raise UserError(f"{path} exists already; choose another name, or ask to overwrite it.")
    write_text_atomic(path, text)


def toml_string(text: str) -> str:
    """A TOML basic string. JSON's escapes are TOML's, but for DEL, which TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def toml_list(texts: Iterable[str], width: int = 100) -> str:
    """A TOML array of strings, on one line where it fits."""
    items = [toml_string(text) for text in texts]
    flat = "[" + ", ".join(items) + "]"
    if len(flat) <= width:
        return flat
    return "[\n" + "".join(f"  {item},\n" for item in items) + "]"
