"""Text files that users give: their encoding by its byte-order mark, their lines, and what is no text."""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from dipole.files.paths import given_path
from dipole.files.reader import MOST_BYTES, read_bytes, unreadable

_MARKS = (  # UTF-32 first: its little-endian mark begins with that of UTF-16
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LINE_END = re.compile(r"\r\n|\r|\n")


def encoding_of(head: bytes) -> str:
    """The encoding that the first four bytes of a file tell; UTF-8, marked or not, where they tell none."""
    return next((name for mark, name in _MARKS if head.startswith(mark)), "utf-8-sig")


def read_plain_text(path: str | Path, what: str, wanted: str, most: int = MOST_BYTES) -> str:
    """What a text file says, without its byte-order mark.

    Args:
        path: The file.
        what: How error messages call it, such as `The words`.
        wanted: What to give instead.
        most: Bytes that it may have.

    Raises:
        UserError: It is missing, no plain file, too large, or is no text in UTF-8 (or in UTF-16 or UTF-32
            with a byte-order mark).
    """
    remedy = f"give {wanted}"
    data = read_bytes(given_path(path, what), remedy, most)
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = len(_LINE_END.findall(data[: error.start].decode("latin-1"))) + 1
        problem = f"line {line} is no text in {encoding.removesuffix('-sig').upper()}"
        raise unreadable(Path(path), problem, remedy) from error
    if "\0" in text:
        raise unreadable(Path(path), "it is binary, not text: it holds NUL", remedy)
    return text


def lines_of(text: str) -> list[str]:
    """Lines of a text, which may end as on Unix, Windows or old Macs, also mixed; no other sign ends one."""
    return _LINE_END.split(text)
