"""`dipole compare`: several controls, fitted to one dipole and measured alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._comparing import Amount, Comparing, strengths_from
from dipole.cli._flags import Count
from dipole.cli._groups import Output, Source, Wanted


@dataclass(frozen=True, kw_only=True)
class Compare(Comparing):
    """Fit controls to one dipole, and compare them at the same distance from the base.

    Attributes:
        controls: Names of controls, and folders of fitted interventions.
        out: Folder for the report and every number.
        strengths: A list such as -1,0.5,2 or a range such as -2..2; 7 by default.
        bystanders: Dipoles that should not move: an arsenal's file or name, or none. [default: ready ones]
        null: Add random directions and words of the same size.
        meter: What else to measure. May be repeated.
        batch_size: Rows a forward.
    """

    controls: Annotated[list[str], typer.Argument(metavar="CONTROL…")]
    out: str | None = None
    wanted: Wanted
    strengths: str | None = None
    amount: Amount
    bystanders: str | None = None
    null: Annotated[bool, typer.Option("--null/--no-null")] = True
    meter: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None
    source: Source
    batch_size: Count = 64
    output: Output

    def run(self) -> None:
        """Fit, measure, write and print."""
        from dipole.evaluation.families import compare_controls

        given = {} if self.strengths is None else {"strengths": strengths_from(self.strengths)}
        self.measure(compare_controls, self.controls, null=self.null, **given)
