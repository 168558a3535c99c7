"""Tables of a corpus or of its labels: CSV and TSV, read strictly, since a lost row is never missed."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dipole.corpora.sources import BAD_GZIP, FORMS, Skipped, open_text, unreadable, wrong_text
from dipole.files.plain_text import lines_of
from dipole.types import DipoleWarning, UserError

_MOST_CHARACTERS = (1 << 31) - 1
_DELIMITERS = (",", "\t", ";", "|")
_MANY, _SHARE = 5, 0.8
_ID = re.compile(r"^(?=.*0)\S+$")


class Header(NamedTuple):
    """The first line of a table.

    Attributes:
        columns: Place of each column by its name in small letters.
        width: How many columns there are.
        delimiter: What stands between them.
    """

    columns: dict[str, int]
    width: int
    delimiter: str


class Row(NamedTuple):
    """A row below the header.

    Attributes:
        line: Number of its first line.
        cells: What it holds.
        wrong: What is wrong with it, such as `is cut short`, or None.
    """

    line: int
    cells: list[str]
    wrong: str | None = None

    def cell(self, place: int | None) -> str | None:
        """What stands in a column; None where the row or the table has none."""
        return self.cells[place] if place is not None and place < len(self.cells) else None


def header_of(file: Path, wanted: Sequence[str]) -> Header:
    """The columns of a table; what parts them is told by the header itself, if the file's ending is wrong.

    Raises:
        UserError: A column that is wanted is missing or stands there twice, or the file is no table.
    """
    own = "\t" if ".tsv" in [suffix.lower() for suffix in file.suffixes] else ","
    headers = {delimiter: _names(file, delimiter) for delimiter in (own, *_DELIMITERS)}
    delimiter = next((d for d, names in headers.items() if set(wanted) <= set(names)), own)
    names = headers[delimiter]
    for name in wanted:
        if names.count(name) > 1:
            raise UserError(f"{file} has {names.count(name)} columns called `{name}`; keep one of them.")
        if name not in names:
            listed = ", ".join(name[:40] for name in names[:20] if name) or "none"
            raise UserError(f"{file} has no column `{name}` in its first line; its columns are: {listed}.")
    return Header({name: place for place, name in reversed(list(enumerate(names)))}, len(names), delimiter)


def _names(file: Path, delimiter: str) -> list[str]:
    try:
        cells = next((cells for _, cells, _ in _records(file, delimiter) if cells), [])
    except BAD_GZIP:
        raise UserError(f"{file} is no valid gzip file; give {FORMS}.") from None
    names = [name.strip().casefold() for name in cells]
    if any(wrong_text(name) not in (None, "is empty") for name in names):
        raise UserError(f"{file} is not UTF-8 text; convert it to UTF-8.")
    return names


def rows_of(file: Path, header: Header) -> Iterator[Row]:
    """The rows below the header that are not empty.

    Raises:
        UserError: The file is no table, or a cell seems to have swallowed rows.
        EOFError, zlib.error: It is gzipped and ends early or is damaged further down.

    Warns:
        DipoleWarning: The only cells of many lines in a table of one column, which may be swallowed rows.
    """
    many: list[tuple[int, int]] = []
    count = 0
    rows = (record for record in _records(file, header.delimiter) if record[1])
    next(rows, None)
    for line, cells, whole in rows:
        broken = {place: lines_of(cell) for place, cell in enumerate(cells) if "\n" in cell or "\r" in cell}
        for place, lines in broken.items():
            many.append((len(lines), line))
            if like_rows := _like_rows(lines, place, cells, header):
                raise UserError(
                    f"{file} has a cell in line {line} that opens with a quotation mark and goes on over "
                    f"{len(lines)} lines, of which {like_rows} look like rows of their own; double a "
                    'quotation mark that belongs to the text ("") and put the whole cell in quotes, or give '
                    "JSONL."
                )
        count += 1
        yield Row(line, cells, _wrong(cells, header, whole))
    longest, line = max(many, default=(0, 0))
    if header.width == 1 and longest >= 2 * _MANY and len(many) <= max(1, count // 20):
        warnings.warn(
            f"{file} has {count} rows, of which the one in line {line} goes on over {longest} lines: it "
            "opens with a quotation mark, which closes only there; if it is not one text, double that mark.",
            DipoleWarning,
            stacklevel=2,
        )


def table_rows(
    file: Path, skipped: list[Skipped]
) -> Iterator[tuple[str, str | None, str | None, str | None, str | None]]:
    """`file:line`, id, text, prompt, reward of each row of a CSV or TSV file; wrong rows go to `skipped`."""
    header = header_of(file, ("text",))
    try:
        for row in rows_of(file, header):
            where = f"{file.name}:{row.line}"
            if row.wrong:
                skipped.append(Skipped(where, row.wrong))
            else:
                key = (row.cell(header.columns.get("id")) or "").strip() or None
                cells = (row.cell(header.columns.get(name)) for name in ("text", "prompt", "reward"))
                text, prompt, reward = cells
                yield where, key, text, prompt, reward
    except BAD_GZIP:
        skipped.append(Skipped(file.name, "is no valid gzip file, or ends early"))


def _wrong(cells: Sequence[str], header: Header, whole: bool) -> str | None:
    if any(cell.strip() for cell in cells[header.width :]):
        return (
            f"has {len(cells)} columns where the header has {header.width}: put a text with "
            f"{header.delimiter!r} in it in quotes"
        )
    if not whole and len(cells) < header.width:
        return "is cut short: the file ends inside it"
    return None


def _like_rows(lines: Sequence[str], place: int, cells: Sequence[str], header: Header) -> int:
    """How many lines of a cell are rows themselves, as behind a lone quotation mark; 0 where few are.

    A row has as many columns as the header and no blank behind what parts them. Half of the lines have to be
    rows with a number, date or id such as `doc-12` of the same make as the cell's own row; or there are many
    lines, and nearly all are rows.
    """
    if header.width < 2:
        return 0
    parsed = [next(csv.reader([line], delimiter=header.delimiter), []) for line in lines]
    rows = [row for row in parsed if len(row) == header.width and not any(c[:1] == " " for c in row[1:])]
    own = [_make(cell) if at != place else None for at, cell in enumerate(cells)]
    alike = sum(
        any(
            mine is not None and _ID.search(mine) and mine == _make(cell)
            for mine, cell in zip(own, row, strict=False)
        )
        for row in rows
    )
    rest = len(lines) - 1
    if 2 * alike >= rest and alike:
        return alike
    return len(rows) if rest >= _MANY and len(rows) >= _SHARE * rest else 0


def _make(cell: str) -> str:
    return re.sub(r"[^\W\d]+", "a", re.sub(r"\d+", "0", cell.strip()))


def _records(file: Path, delimiter: str) -> Iterator[tuple[int, list[str], bool]]:
    """First line, cells, and whether a line end stands behind them, of each record."""
    # The limit of the csv module, 131,072 characters a cell, is less than a book; it can only be set for all.
    csv.field_size_limit(max(csv.field_size_limit(), _MOST_CHARACTERS))
    line, ended = 1, True

    def watched(lines: Iterator[str]) -> Iterator[str]:
        nonlocal ended
        for text in lines:
            ended = text.endswith(("\n", "\r"))
            yield text

    try:
        with open_text(file, newline="") as stream:
            reader = csv.reader(watched(iter(stream)), delimiter=delimiter, strict=True)
            for cells in reader:
                yield line, cells, ended
                line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{file} can't be read as a table: the row that begins in line {line} has a quotation mark that "
            f"opens a cell and does not close it at its end ({error}); double a quotation mark that belongs "
            'to the text ("") and put the whole cell in quotes.'
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is no text in {error.encoding}; convert it to UTF-8.") from error
    except OSError as error:
        if isinstance(error, BAD_GZIP):
            raise
        raise unreadable(file, error) from error
