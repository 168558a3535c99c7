"""`dipole sweep`: one control at many strengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dipole.cli._comparing import Amount, Comparing, strengths_from
from dipole.cli._flags import Count
from dipole.cli._groups import Output, Source, Wanted


@dataclass(frozen=True, kw_only=True)
class Sweep(Comparing):
    """Measure one control at many strengths: its dose-response curve.

    Attributes:
        control: A control, or the folder of a fitted intervention.
        strengths: A range such as -4..4, or a list such as -1,0,1.
        steps: Strengths of a range, its ends included. [default: 9]
        out: Folder for the report and every number.
        bystanders: Dipoles that should not move: an arsenal's file or name.
        meter: What else to measure. May be repeated.
        batch_size: Rows a forward.
    """

    control: Annotated[str, typer.Argument(metavar="CONTROL")]
    strengths: str = "-2..2"
    steps: int | None = None
    out: str | None = None
    wanted: Wanted
    amount: Amount
    bystanders: str = "none"
    meter: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None
    source: Source
    batch_size: Count = 64
    output: Output

    def run(self) -> None:
        """Measure, write and print."""
        from dipole.evaluation import families

        def one(lm: Any, dipole: Any, entries: Any, **options: Any) -> Any:
            return families.sweep(lm, dipole, entries[0], **options)

        self.measure(one, [self.control], strengths=strengths_from(self.strengths, self.steps))
