"""Prompts to complete, from a file: one a line, or one a row."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dipole.corpora.sources import JSONL, TABLE, TEXT, Skipped, form_of, json_rows, open_text, wrong_text
from dipole.corpora.tables import header_of, rows_of
from dipole.files.paths import given_file, given_path
from dipole.types import DipoleWarning, UserError

_FORMS = "a .jsonl, .csv or .tsv file with a `prompt` in each row, or a .txt file with one prompt a line"


def read_prompts(path: str | Path) -> tuple[str, ...]:
    """The distinct prompts of a file, in its order.

    Args:
        path: JSONL whose objects have a `prompt`, a string or a single message of the user (as sets for TRL
            have it); a CSV or TSV file with a column `prompt`; or a text file with one prompt a line.

    Raises:
        UserError: There is no such file, it is of another form, or no prompt is in it.

    Warns:
        DipoleWarning: Rows were left out, or came twice.
    """
    place = given_path(path, "The file of prompts")
    if not place.is_file() or form_of(place) not in (TEXT, JSONL, TABLE):
        raise UserError(f"There are no prompts at {str(path)!r}; give {_FORMS}.")
    given_file(place, "The file of prompts")
    skipped: list[Skipped] = []
    found = []
    for where, given in _rows(place, skipped):
        prompt = _single(given)
        wrong = wrong_text(prompt)
        if wrong is None:
            found.append(prompt)
        else:
            skipped.append(Skipped(where, wrong.replace("`text`", "`prompt`")))
    if not found:
        why = f": {skipped[0].name} {skipped[0].reason}" if skipped else ""
        raise UserError(f"There is no prompt to use in {path}{why}; give {_FORMS}.")
    distinct = tuple(dict.fromkeys(found))
    _tell(place, skipped, len(found) - len(distinct))
    return distinct


def _rows(file: Path, skipped: list[Skipped]) -> Iterator[tuple[str, Any]]:
    form = form_of(file)
    if form == JSONL:
        for where, _, _, prompt, _ in json_rows(file, skipped):
            yield where, prompt
    elif form == TABLE:
        header = header_of(file, ("prompt",))
        for row in rows_of(file, header):
            if row.wrong:
                skipped.append(Skipped(f"{file.name}:{row.line}", row.wrong))
            else:
                yield f"{file.name}:{row.line}", row.cell(header.columns["prompt"])
    else:
        with open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield f"{file.name}:{number}", line.rstrip("\r\n").removeprefix("\ufeff")


def _single(given: Any) -> Any:
    """What the only message of a conversation says, if it is the user's; anything else as it is."""
    if isinstance(given, list) and len(given) == 1 and isinstance(given[0], dict):
        message = given[0]
        return message.get("content") if message.get("role") == "user" else given
    return given


def _tell(file: Path, skipped: list[Skipped], twice: int) -> None:
    said = []
    if skipped:
        said.append(f"{len(skipped)} rows were left out (the first, {skipped[0].name}, {skipped[0].reason})")
    if twice:
        said.append(f"{twice} came before and count once")
    if said:
        warnings.warn(f"Of the prompts in {file}, {', and '.join(said)}.", DipoleWarning, stacklevel=3)
