"""`dipole compose`: interventions, each at its strength, as one LM in one folder."""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._console import emit, emit_json
from dipole.cli._flags import Device, Dtype, Json, Revision, SpecialTokens, Trust
from dipole.shown.terminal import one_line


def compose(
    intervention: Annotated[
        list[str],
        typer.Option(
            "--intervention",
            metavar="FOLDER[:STRENGTH]",
            help="What to engage, in this order. May be repeated.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="Folder for the LM; a new or empty one.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            help="A hub id, a folder, tiny or mini. [default: what the intervention was made for, or tiny]",
        ),
    ] = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    json: Json = False,
) -> None:
    """Save interventions together as one LM, for --model.

    The folder holds the interventions and the name of the model; the model's own weights are not copied.
    """
    flags = dict(locals())
    from dipole.cli._interventions import engaged_lm
    from dipole.cli._output import output_folder
    from dipole.runs import keeping

    folder = output_folder(out, overwrite=False)
    with keeping(folder) as keep:
        lm = keep(engaged_lm(intervention, flags))
    if json:
        parts = [{"kind": a.intervention.kind, "strength": a.strength} for a in lm.applied]
        emit_json({"model": lm.resident.name, "interventions": parts, "out": str(folder)})
        return
    emit(f"{one_line(str(folder))}: {one_line(lm.resident.name)} with")
    for applied in lm.applied:
        emit(f"  {applied.intervention.kind} at {applied.strength:g}, on the {applied.intervention.surface}")
