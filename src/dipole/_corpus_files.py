"""Reading the files that a corpus is made of: which form they have, and what is wrong with them."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from dipole.reading import Unreadable, parse_json
from dipole.types import UserError

TEXT, JSONL, TABLE = (".txt",), (".jsonl", ".ndjson"), (".csv", ".tsv")
FORMS = "a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file (each may be gzipped, .gz)"
_BLOCK = 1 << 20
_MOST_CHARACTERS = (1 << 31) - 1
_BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


class Skipped(NamedTuple):
    """A file or row that was left out.

    Attributes:
        name: As `Document.id` would have been.
        reason: What is wrong with it, such as `is empty`.
    """

    name: str
    reason: str


def form_of(file: Path) -> tuple[str, ...] | None:
    """`TEXT`, `JSONL` or `TABLE` by the ending of the name, with or without .gz; None for any other."""
    suffixes = [suffix.lower() for suffix in file.suffixes if suffix.lower() != ".gz"]
    last = suffixes[-1] if suffixes else ""
    return next((form for form in (TEXT, JSONL, TABLE) if last in form), None)


def open_bytes(file: Path) -> IO[bytes]:
    """The content of a file, unpacked if its name ends in .gz."""
    if file.suffix.lower() == ".gz":
        return cast(IO[bytes], gzip.open(file, "rb"))
    return file.open("rb")


def wrong_file(file: Path) -> str | None:
    """Why a file is no text, or None."""
    if not file.is_file():
        return "is no regular file"
    decoder, blank = codecs.getincrementaldecoder("utf-8-sig")(), True
    try:
        with open_bytes(file) as stream:
            while block := stream.read(_BLOCK):
                if b"\0" in block:
                    return "is binary, not text"
                blank = not decoder.decode(block).strip() and blank
            decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "is not UTF-8 text"
    except _BAD_GZIP:
        return "is no valid gzip file"
    except OSError as error:
        return f"can't be read ({error.strerror or error})"
    return "is empty" if blank else None


def wrong_text(text: Any) -> str | None:
    """Why a value is no text to read, or None."""
    if text is None:
        return "has no `text`"
    if not isinstance(text, str):
        return f"has a `text` that is a {type(text).__name__}, not a string"
    if not text.strip():
        return "is empty"
    if "\0" in text:
        return "is binary, not text"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "is not UTF-8 text"
    return None


def json_rows(file: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str | None, Any]]:
    """`file:line`, id and text of each object of a JSONL file; lines that are none are added to `skipped`."""
    try:
        with open_bytes(file) as stream:
            for number, line in enumerate(stream, 1):
                where = f"{file.name}:{number}"
                if not line.strip():
                    continue
                try:
                    row = parse_json(line.decode("utf-8-sig"), finite=False)
                except UnicodeDecodeError:
                    skipped.append(Skipped(where, "is not UTF-8 text"))
                except Unreadable:
                    skipped.append(Skipped(where, "is no JSON"))
                else:
                    if isinstance(row, dict):
                        yield where, _id(row.get("id")), row.get("text")
                    else:
                        skipped.append(Skipped(where, "is no JSON object"))
    except _BAD_GZIP:
        skipped.append(Skipped(file.name, "is no valid gzip file, or ends early"))
    except OSError as error:
        raise _unreadable(file, error) from error


def _id(value: Any) -> str | None:
    return str(value).strip() or None if isinstance(value, str | int) else None


def table_rows(file: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str | None, Any]]:
    """`file:line`, id and text of each row of a CSV or TSV file."""
    columns = columns_of(file, ("text",))
    at, key = columns["text"], columns.get("id")
    try:
        for line, row in rows_of(file):
            given = _id(row[key]) if key is not None and key < len(row) else None
            yield f"{file.name}:{line}", given, row[at] if at < len(row) else None
    except _BAD_GZIP:
        skipped.append(Skipped(file.name, "is no valid gzip file, or ends early"))


def columns_of(file: Path, wanted: tuple[str, ...]) -> dict[str, int]:
    """Place of each column of a table by its name in small letters.

    Raises:
        UserError: One that is wanted is missing; the columns that there are are listed.
    """
    try:
        header = next((row for _, row in _table(file) if row), [])
    except _BAD_GZIP:
        raise UserError(f"{file} is no valid gzip file; give {FORMS}.") from None
    names = [name.strip() for name in header]
    if any(wrong_text(name) not in (None, "is empty") for name in names):
        raise UserError(f"{file} is not UTF-8 text; convert it to UTF-8.")
    columns = {name.casefold(): place for place, name in reversed(list(enumerate(names)))}
    for name in wanted:
        if name not in columns:
            listed = ", ".join(name[:40] for name in names[:20] if name) or "none"
            raise UserError(f"{file} has no column `{name}` in its first line; its columns are: {listed}.")
    return columns


def rows_of(file: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that are not empty, with the number of their first line.

    Raises:
        UserError: The file is no table.
        EOFError, zlib.error: It is gzipped and ends early or is damaged further down.
    """
    rows = ((line, row) for line, row in _table(file) if row)
    next(rows, None)
    return rows


def _table(file: Path) -> Iterator[tuple[int, list[str]]]:
    # The limit of the csv module, 131,072 characters a cell, is less than a book; it can only be set for all.
    csv.field_size_limit(max(csv.field_size_limit(), _MOST_CHARACTERS))
    tabs = ".tsv" in [suffix.lower() for suffix in file.suffixes]
    try:
        with io.TextIOWrapper(
            open_bytes(file), encoding="utf-8-sig", errors="surrogateescape", newline=""
        ) as lines:
            reader = csv.reader(lines, delimiter="\t" if tabs else ",")
            line = 1
            for row in reader:
                yield line, row
                line = reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{file} can't be read as a table: line {line} {error}.") from error
    except gzip.BadGzipFile:
        raise
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> UserError:
    return UserError(f"{file} can't be read ({error.strerror or error}); make it readable, or give another.")
