"""A short account of an effect for a terminal of 80 columns, and plain text when it is piped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dipole.effects import Change, Effect
from dipole.report.page import Group, build_page, count_text
from dipole.shown.numbers import bounds, change, number, plain_bounds, unit_label
from dipole.shown.text import Piece, heading

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

_STYLES = {"claim": "bold green", "against": "strike red"}
_MAIN = (
    "claim_share",
    "against_share",
    "truth_claim_share",
    "truth_against_share",
    "velma_probability",
    "kl",
    "perplexity_ratio",
    "distinct_2_ratio",
    "repeated_claim_rate",
    "mean_bystander_shift",
)
_MARKS = {"claim": "**", "against": "~~"}


def terminal_summary(effect: Effect, console: Console, rows: int = 12) -> None:
    """Print some completions before and after, the counts, the main numbers and the verdict.

    On a terminal the claim's mentions are bold and the counterclaim's struck through; elsewhere they are
    between `**` and `~~`, so that nothing is lost in a pipe.

    Args:
        effect: What changed.
        console: Where to print.
        rows: How many pairs of completions to show, shared among the prompts.
    """
    page = build_page(effect, (), {})
    per_prompt = max(1, rows // max(1, len(page.groups)))
    for note in page.notes:
        console.print(f"Note: {note}\n", style="bold yellow", markup=False, highlight=False)
    for group in page.groups:
        console.print(_samples(group, console, per_prompt))
    if page.groups:
        before, after = sum(g.n_before for g in page.groups), sum(g.n_after for g in page.groups)
        counts = (f"{c.label.lower()} {count_text(c, before, after)}" for c in page.counts)
        console.print("Sides taken: " + "; ".join(counts) + "\n", markup=False, highlight=False)
    if page.changes:
        console.print(_numbers([c for c in page.changes if c.name in _MAIN] or page.changes[:8]))
        console.print()
    console.print(" ".join(page.verdict), markup=False, highlight=False)


def _samples(group: Group, console: Console, rows: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=Text(f"{group.prompt}{group.gap}"), title_style="bold", title_justify="left",
        box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    table.add_column("", justify="right", style="dim", width=4, no_wrap=True)
    table.add_column("before", ratio=1, header_style="dim")
    table.add_column("after", ratio=1, header_style="dim")
    for row in group.shown[:rows]:
        table.add_row(str(row.number), _marked(row.before, console), _marked(row.after, console))
    table.add_row("", "", "")
    return table


def _marked(cut: list[Piece], console: Console) -> Text:
    from rich.text import Text

    styled = console.is_terminal and not console.no_color
    text = Text()
    for piece in cut:
        if piece.side is None:
            text.append(piece.text)
        elif styled:
            text.append(piece.text, style=_STYLES[piece.side])
        else:
            text.append(f"{_MARKS[piece.side]}{piece.text}{_MARKS[piece.side]}")
    return text


def _numbers(changes: Sequence[Change]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column("", overflow="fold")
    for name in ("before", "after", "difference"):
        table.add_column(name, justify="right", header_style="dim", no_wrap=True)
    table.add_column("95% interval", header_style="dim", no_wrap=True)
    table.add_column("judged", header_style="dim", no_wrap=True)
    for c in changes:
        unit = unit_label(c.unit, c.label)
        label = heading(c.label) + (f", {unit}" if unit else "")
        interval = bounds(c.difference, c.unit) or ("" if c.before else plain_bounds(c.after, c.unit))
        table.add_row(
            Text(label),
            number(c.before.mean if c.before else None, c.unit),
            number(c.after.mean, c.unit),
            change(c.difference.mean if c.difference else None, c.unit),
            Text(interval),
            "in-loop" if c.in_loop else "held-out",
        )
    return table
