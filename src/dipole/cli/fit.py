"""`dipole fit`: fit one control to a dipole, and keep the intervention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dipole.cli._concept import concept_from
from dipole.cli._console import INTERRUPTED
from dipole.cli._groups import Output, Source, Wanted
from dipole.cli._named import made_control
from dipole.cli._progress import progress
from dipole.shown.terminal import one_line


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a control to a dipole, for `generate` and `compare`.

    Attributes:
        control: One of `dipole controls`; `dipole fit CONTROL --help` lists its own flags.
        out: Folder for the intervention.
    """

    control: Annotated[str, typer.Argument(metavar="CONTROL")]
    out: str
    wanted: Wanted
    source: Source
    output: Output
    fields: Mapping[str, Any]

    def run(self) -> int:
        """Fit, save and print what was chosen; the exit code."""
        folder = self.output.folder(self.out)
        control, concept = made_control(self.control, self.fields), None
        if self.wanted.given or not control.optional_concept:
            # What else a control can't do without, prompts for instance, it says by itself.
            concept = concept_from(self.wanted, self.source.name(), control.takes)
        lm = self.source.load()
        from dipole.controls.fit import fit
        from dipole.runs import keeping

        with progress(self.output.quiet) as show, keeping(folder, self.output.overwrite) as keep:
            found = fit(lm, concept, control, show)
            if found.run.history:
                show("saving")
            keep(found)
        self.output.show(f"{one_line(str(folder))}: {found}", {**found.to_dict(), "out": str(folder)})
        self.output.say(f"use it with --intervention {folder}")
        return INTERRUPTED if found.run.interrupted else 0
