"""Plain tables."""

from __future__ import annotations

from collections.abc import Sequence

from dipole.cli._console import one_line


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
