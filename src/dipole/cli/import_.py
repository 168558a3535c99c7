"""`dipole import`: a steering vector from llama.cpp or repeng."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import typer

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._flags import Device, Dtype, Json, Overwrite, Revision, Trust


def import_(
    gguf: Annotated[str, typer.Argument(metavar="FILE", help="A control vector in GGUF.")],
    out: Annotated[str, typer.Option("--out", help="Folder for the steering vector.")],
    model: Annotated[
        str | None,
        typer.Option("--model", help="The model that it is for; whether it fits is checked."),
    ] = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Read a GGUF control vector (llama.cpp, repeng)."""
    flags: dict[str, Any] = dict(locals())
    from dipole.cli._flags import load_model, source_of
    from dipole.cli._output import output_folder
    from dipole.files.paths import given_file
    from dipole.interventions.gguf import import_gguf
    from dipole.runs import save

    folder = output_folder(out, overwrite)
    vector = import_gguf(given_file(gguf, "The control vector"))
    if model is not None:
        lm = load_model(*source_of(flags))
        vector.apply(lm)
        vector = replace(vector, base_name=model, base_fingerprint=lm.resident.fingerprint)
    save(vector, folder, overwrite)
    if json:
        emit_json({"out": out, "layers": vector.layers, "width": vector.width, "base": vector.base_name})
    else:
        layers = ", ".join(map(str, vector.layers))
        emit(f"{out}: vector, layer {layers} of {vector.base_name}, width {vector.width}")
    if model is None and vector.base_fingerprint is None:
        tell(f"dipole: nothing tells which model it is for; give --model with --intervention {out}")
