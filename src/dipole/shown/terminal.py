"""What a terminal shows: text that can't disturb it, and plain tables."""

from __future__ import annotations

import re
from collections.abc import Sequence

# Control characters move the cursor or recolour a terminal, and bidirectional overrides reorder what follows.
_HARMFUL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    """The text with control characters written out; line ends and tabs stay."""
    return _HARMFUL.sub(lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else escaped(m[0]), text)


def one_line(text: str) -> str:
    """The same on one line: line ends and tabs are written out too."""
    return visible(text.replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t"))


def escaped(text: str) -> str:
    """The text with control characters as JSON writes them."""
    return _HARMFUL.sub(lambda m: f"\\u{ord(m[0]):04x}", text)


def columns(header: Sequence[str], rows: Sequence[Sequence[str]], left: bool = False) -> list[str]:
    """Lines of a table whose columns are as wide as what stands in them.

    Args:
        header: Names of the columns.
        rows: Cells; each is shown on one line.
        left: Align to the left instead of the right.
    """
    shown = [[one_line(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[k]) for row in shown) for k in range(len(header))]
    pad = str.ljust if left else str.rjust
    return ["  ".join(pad(c, w) for c, w in zip(row, widths, strict=True)).rstrip() for row in shown]
