"""`dipole export`: a steering vector for llama.cpp."""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._console import emit, emit_json
from dipole.cli._flags import Json
from dipole.files.paths import given_path
from dipole.types import UserError


def export(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder of a fitted steering vector.")],
    gguf: Annotated[str, typer.Option("--gguf", metavar="FILE", help="The file to write.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    json: Json = False,
) -> None:
    """Write a steering vector as a GGUF control vector (llama.cpp)."""
    from dipole.cli._interventions import loaded
    from dipole.files import claimed
    from dipole.interventions.activations import SteeringVector
    from dipole.interventions.gguf import export_gguf

    path = given_path(gguf, "The file of --gguf")
    vector = loaded(folder)
    if not isinstance(vector, SteeringVector):
        raise UserError(
            f"{folder} holds a {vector.kind}, and only a steering vector can be a control vector; fit one "
            "with `dipole fit vector`."
        )
    if path.is_dir():
        raise UserError(f"--gguf must name a file, such as clips.gguf, and is {gguf!r}.")
    with claimed(path):
        if path.exists() and not overwrite:
            raise UserError(
                f"{path} exists; add --overwrite to replace it, or choose another name with --gguf."
            )
        export_gguf(vector, path)
    if json:
        emit_json({"gguf": gguf, "layers": vector.layers, "width": vector.width, "base": vector.base_name})
        return
    layers = ", ".join(map(str, vector.layers))
    emit(f"{gguf}: layer {layers} of {vector.base_name}, for `llama-cli --control-vector {gguf}`")
