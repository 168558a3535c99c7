"""Reading the files that a corpus is made of: which form they have, and what is wrong with them."""

from __future__ import annotations

import codecs
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from dipole.files.plain_text import encoding_of
from dipole.files.reader import Unreadable, parse_json
from dipole.types import UserError

TEXT, JSONL, TABLE = (".txt",), (".jsonl", ".ndjson"), (".csv", ".tsv")
FORMS = "a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file (each may be gzipped, .gz)"
_BLOCK = 1 << 20
BAD_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)


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


def open_text(file: Path, newline: str | None = None) -> io.TextIOWrapper:
    """The text of a file in UTF-8, or in the encoding that its byte-order mark tells.

    Bytes that are no UTF-8 become lone surrogates; `wrong_text` finds them.
    """
    with open_bytes(file) as stream:
        encoding = encoding_of(stream.read(4))
    errors = "surrogateescape" if encoding == "utf-8-sig" else "strict"
    return io.TextIOWrapper(open_bytes(file), encoding=encoding, errors=errors, newline=newline)


def wrong_file(file: Path) -> str | None:
    """Why a file is no text, or None."""
    if not file.is_file():
        return "is no regular file"
    decoder, blank = None, True
    try:
        with open_bytes(file) as stream:
            while block := stream.read(_BLOCK):
                decoder = decoder or codecs.getincrementaldecoder(encoding_of(block))()
                text = decoder.decode(block)
                if "\0" in text:
                    return "is binary, not text"
                blank = not text.strip() and blank
            if decoder is not None:
                decoder.decode(b"", final=True)
    except UnicodeError:
        return "is not UTF-8 text"
    except BAD_GZIP:
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


def json_rows(file: Path, skipped: list[Skipped]) -> Iterator[tuple[str, str | None, Any, Any, Any]]:
    """`file:line`, id, text, prompt, reward of each object of a JSONL file; other lines go to `skipped`."""
    for where, row in json_objects(file, skipped):
        yield where, _id(row.get("id")), row.get("text"), row.get("prompt"), row.get("reward")


def json_objects(file: Path, skipped: list[Skipped]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`file:line` and the object of each line of a JSONL file; other lines are added to `skipped`."""
    try:
        with open_text(file) as lines:
            for number, line in enumerate(lines, 1):
                where = f"{file.name}:{number}"
                if not line.strip():
                    continue
                try:
                    line.encode("utf-8")
                    row = parse_json(line.removeprefix("\ufeff"), finite=False)
                except UnicodeEncodeError:
                    skipped.append(Skipped(where, "is not UTF-8 text"))
                except Unreadable:
                    skipped.append(Skipped(where, "is no JSON"))
                else:
                    if isinstance(row, dict):
                        yield where, row
                    else:
                        skipped.append(Skipped(where, "is no JSON object"))
    except BAD_GZIP:
        skipped.append(Skipped(file.name, "is no valid gzip file, or ends early"))
    except UnicodeDecodeError as error:
        skipped.append(Skipped(file.name, f"is no text in {error.encoding} further down"))
    except OSError as error:
        raise unreadable(file, error) from error


def _id(value: Any) -> str | None:
    return str(value).strip() or None if isinstance(value, str | int) else None


def unreadable(file: Path, error: OSError) -> UserError:
    """What is said of a file that the system does not let be read."""
    return UserError(f"{file} can't be read ({error.strerror or error}); make it readable, or give another.")
