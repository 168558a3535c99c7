"""Lines of JSON, each told by its file and number when it can't be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dipole.corpora.sources import BAD_GZIP, open_text
from dipole.files.reader import Unreadable, parse_json
from dipole.types import UserError


def json_lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """`file:line` and the object of each line that is not empty.

    Raises:
        UserError: A line is no JSON object, as the last of a file that was cut.
    """
    try:
        with open_text(file) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                where = f"{file.name}:{number}"
                try:
                    row = parse_json(line, finite=False)
                except Unreadable as error:
                    raise UserError(
                        f"{where} can't be read: {error}; if the log was cut there, write it again or take "
                        "the line out."
                    ) from error
                if not isinstance(row, Mapping):
                    raise UserError(f"{where} is no JSON object; each line of a log is one.")
                yield where, row
    except BAD_GZIP:
        raise UserError(f"{file} is no valid gzip file, or ends early; copy it again.") from None
