"""What `diff` found, as a record that prints itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipole.evaluation.diff_maths import Paired
from dipole.evaluation.logs import Measure
from dipole.evaluation.serialise import plain
from dipole.origin import Origin
from dipole.shown.numbers import NONE, bounds, change, number
from dipole.shown.terminal import columns, one_line

ALPHA = 0.05


@dataclass(frozen=True)
class Row:
    """One measure in both logs.

    Attributes:
        measure: Task and metric.
        found: The paired comparison.
        p_holm: Its p corrected for all measures that were compared.
        rose: Items whose value rose.
        fell: Items whose value fell.
        share: Whether all values lie between 0 and 1, so that they are shown in per cent.
    """

    measure: Measure
    found: Paired
    p_holm: float
    rose: tuple[str, ...]
    fell: tuple[str, ...]
    share: bool

    @property
    def unit(self) -> str:
        """As numbers are shown."""
        return "share" if self.share else ""

    @property
    def shown(self) -> bool:
        """Whether a difference is shown at 5 %, after correction."""
        return self.p_holm < ALPHA

    def verdict(self, effect: float | None = None) -> str:
        """In plain words.

        Args:
            effect: A difference that would matter; that which was found where it is not given.
        """
        found, unit = self.found, self.unit
        points = " points" if self.share else ""
        if math.isnan(found.p):
            return "one item says nothing about others."
        if self.shown:
            way = "higher" if found.difference.mean > 0 else "lower"
            return (
                f"{way} by {change(abs(found.difference.mean), unit).lstrip('+')}{points}"
                f" {bounds(found.difference, unit)}; p = {p_shown(self.p_holm)}."
            )
        wanted = found.difference.mean if effect is None else effect
        more = found.needed(wanted)
        so = f"no difference is shown; p = {p_shown(self.p_holm)}."
        if found.error == 0:
            return so
        least = change(found.detectable, unit).lstrip("+")
        so += f" These {found.items:,} items show one of {least}{points} or more"
        if more is None or more <= found.items:
            return so + "."
        said = change(abs(wanted), unit).lstrip("+")
        which = "found" if effect is None else "wanted"
        return so + f"; the {said}{points} {which} would take {more:,}."


@dataclass(frozen=True, eq=False)
class Difference:
    """What `diff` found.

    Attributes:
        before: The log before.
        after: The log after.
        rows: A comparison for each measure that both have.
        notes: What was left out, in plain words.
        effect: The difference that would matter, if one was named.
        origin: None: the two files are what makes it again.
    """

    before: Path
    after: Path
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    effect: float | None = None
    origin: Origin | None = None

    def __str__(self) -> str:
        """A table, and a sentence for each measure."""
        head = (
            "task",
            "metric",
            "items",
            "before",
            "after",
            "difference",
            "95%",
            "p (Holm)",
            "up/down",
            "wrong way",
        )
        table = [
            (
                one_line(row.measure.task),
                one_line(row.measure.metric),
                f"{row.found.items:,}",
                number(row.found.before, row.unit),
                number(row.found.after, row.unit),
                change(row.found.difference.mean, row.unit),
                bounds(row.found.difference, row.unit) or NONE,
                p_shown(row.p_holm),
                f"{row.found.up}/{row.found.down}",
                number(row.found.wrong_way, "share"),
            )
            for row in self.rows
        ]
        said = [f"{one_line(' '.join(row.measure))}: {row.verdict(self.effect)}" for row in self.rows]
        return "\n".join(
            [*columns(head, table), "", *said, *(f"Note: {one_line(note)}" for note in self.notes)]
        )

    def to_dict(self) -> dict[str, Any]:
        """Every number, and the items that changed."""
        return {
            "format": "dipole-diff",
            "version": 1,
            "before": str(self.before),
            "after": str(self.after),
            "effect": self.effect,
            "notes": list(self.notes),
            "rows": [
                {
                    **row.measure._asdict(),
                    **plain(row.found._asdict()),
                    "wrong_way": plain(row.found.wrong_way),
                    "p_holm": plain(row.p_holm),
                    "difference_shown": row.shown,
                    "detectable": plain(row.found.detectable),
                    "items_needed": row.found.needed(
                        row.found.difference.mean if self.effect is None else self.effect
                    ),
                    "rose": list(row.rose),
                    "fell": list(row.fell),
                    "verdict": row.verdict(self.effect),
                }
                for row in self.rows
            ],
        }


def p_shown(value: float) -> str:
    """A probability as a reader wants it."""
    if math.isnan(value):
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
