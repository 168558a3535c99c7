"""`dipole derive`: what a control would learn of a dipole, as a file to look at and to edit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dipole.cli._concept import concept_from
from dipole.cli._groups import Output, Source, Wanted
from dipole.cli._named import made_control
from dipole.cli._progress import progress


@dataclass(frozen=True, kw_only=True)
class Derive:
    """Write down what a control would learn of a dipole: JSONL in trl's format, with scores.

    Nothing is learned. Look at it, edit it, and train on it: `dipole fit dpo --pairs FILE`, or --texts.

    Attributes:
        control: sft, best_of_distil, dpo, dpf or kto; `dipole derive CONTROL --help` lists its own flags.
        out: The .jsonl file to write.
    """

    control: Annotated[str, typer.Argument(metavar="CONTROL")]
    out: Annotated[str, typer.Option(metavar="FILE")]
    wanted: Wanted
    source: Source
    output: Output
    fields: Mapping[str, Any]

    def run(self) -> None:
        """Derive, write and print."""
        from dipole.controls.derive import beside, check_file, derive

        check_file(self.out, self.output.overwrite)
        control = made_control(self.control, self.fields)
        concept = concept_from(self.wanted, self.source.name(), control.takes)
        with progress(self.output.quiet) as show:
            found = derive(self.source.load(), concept, control, show)
        found.save(self.out, self.output.overwrite)
        self.output.show(found, *found.to_dicts())
        self.output.say(f"the rows are in {self.out}")
        if found.left_out:
            self.output.say(f"what was left out, and why, is in {beside(self.out)}")
