"""Reading and writing of concept files: TOML, with errors that say what to mend."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dipole.files import write_text_atomic
from dipole.paths import given_file, given_path
from dipole.types import UserError


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file in UTF-8.

    Raises:
        UserError: The file is missing, can't be read, or is not TOML in UTF-8.
    """
    if not given_path(path).exists():
        raise UserError(f"There is no file {path}; wanted a TOML file with `claim` and `against`.")
    try:
        text = given_file(path, "The TOML file").read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is not UTF-8 text (byte {error.start}); wanted a TOML file, saved as UTF-8."
        ) from None
    except OSError as error:
        raise UserError(f"{path} can't be read: {error.strerror or error}.") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is not valid TOML: {error}. Texts stand in double quotes.") from None


def refuse_unknown_keys(table: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    """Raise a `UserError` that names the first key that isn't known, and the nearest that is."""
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where} has an unknown key {key!r}.{guess} Keys: {', '.join(known)}.")


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
