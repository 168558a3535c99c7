"""The report of a comparison across controls: what to write, and what to print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.evaluation.families import Comparison, comparison_to_dict
from dipole.files import write_json_atomic, write_text_atomic
from dipole.report import comparison_view as view
from dipole.report.comparison_page import render_comparison_html, render_comparison_markdown
from dipole.report.write import _toml

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COMPARISON = "comparison.json"
_PRINTED = ("claim", "counterclaim", "VELMA", "perplexity", "KL", "wrong way", "fit", "time a token")


def write_comparison(folder: Path, comparison: Comparison, facts: Mapping[str, Any]) -> None:
    """Write `report.html`, `report.md`, `comparison.json` (every number) and the concept as `dipole.toml`.

    A sweep gets the same files with a shorter report.

    Args:
        folder: Output folder, made where it is missing.
        comparison: What `compare_controls` or `sweep` measured.
        facts: What is needed to know and repeat the run; its manifest. May be empty.

    Raises:
        UserError: A file can't be written; older files are left intact.
    """
    html = render_comparison_html(comparison, facts)
    markdown = render_comparison_markdown(comparison, facts)
    concept = _toml(comparison.concept)
    if concept:
        write_text_atomic(folder / "dipole.toml", concept)
    write_json_atomic(folder / COMPARISON, {**comparison_to_dict(comparison), "facts": dict(facts)})
    write_text_atomic(folder / "report.html", html)
    write_text_atomic(folder / "report.md", markdown)


def comparison_summary(comparison: Comparison, console: Console) -> None:
    """Print the notes, the table and what each control came to; for a terminal of 80 columns or a pipe."""
    for note in comparison.notes:
        console.print(f"Note: {note}\n", style="bold yellow", markup=False, highlight=False)
    console.print(view.heading_line(comparison) + "\n", markup=False, highlight=False)
    if comparison.sweep:
        for curve in comparison.curves:
            rows = [row[:-2] for row in view.strength_rows(curve)]
            console.print(_table(curve.label, view.strength_header()[:-2], rows))
    else:
        console.print(_summary(comparison))
    if others := view.other_rows(comparison):
        cells = [(view.Cell(row.label), *row.cells) for row in others]
        console.print()
        console.print(_table("", ["", *view.other_header(comparison)], cells))
    console.print()
    for verdict in view.verdicts(comparison):
        console.print(f"{verdict.label}", style="bold", markup=False, highlight=False)
        for sentence in verdict.sentences:
            console.print(f"  {sentence}", markup=False, highlight=False)


def _summary(comparison: Comparison) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    made.add_column("", overflow="fold")
    picked = [view.SUMMARY.index(name) for name in _PRINTED]
    for name in _PRINTED:
        made.add_column(name, justify="right", header_style="dim")
    for row in view.summary_rows(comparison):
        style = "dim" if row.null or not row.surface else ""
        cells = [row.cells[i] for i in picked]
        made.add_row(Text(row.label), *(_marked(cell) for cell in cells), style=style)
    return made


def _marked(cell: view.Cell) -> str:
    return cell.value + ("*" if cell.tag == "in-loop" else "")


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[view.Cell]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    made = Table(
        title=Text(title) if title else None, title_style="bold", title_justify="left",
        box=None, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for name in header:
        made.add_column(name, justify="right", header_style="dim")
    for row in rows:
        made.add_row(*(Text(cell.value) for cell in row))
    return made
