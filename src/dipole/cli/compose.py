"""`dipole compose`: interventions, each at its strength, as one LM in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._console import emit, emit_json
from dipole.cli._groups import EngagedSource, output_folder
from dipole.shown.terminal import one_line


@dataclass(frozen=True, kw_only=True)
class Compose:
    """Save interventions together as one LM, for --model.

    The folder holds the interventions and the name of the model; the model's own weights are not copied.

    Attributes:
        intervention: What to engage, in this order. May be repeated.
        out: Folder for the LM; a new or empty one.
        json: Print JSON, one object a line.
    """

    intervention: Annotated[list[str], typer.Option(metavar="FOLDER[:STRENGTH]")]
    out: str
    source: EngagedSource
    json: bool = False

    def run(self) -> None:
        """Engage, save and print."""
        from dipole.cli._named import engaged_lm
        from dipole.runs import keeping

        folder = output_folder(self.out)
        with keeping(folder) as keep:
            lm = keep(engaged_lm(self.intervention, self.source))
        if self.json:
            parts = [{"kind": a.intervention.kind, "strength": a.strength} for a in lm.applied]
            emit_json({"model": lm.resident.name, "interventions": parts, "out": str(folder)})
            return
        emit(f"{one_line(str(folder))}: {one_line(lm.resident.name)} with")
        for a in lm.applied:
            emit(f"  {a.intervention.kind} at {a.strength:g}, on the {a.intervention.surface}")
