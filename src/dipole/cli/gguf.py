"""`dipole export` and `dipole import`: steering vectors to and from llama.cpp."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._groups import Source, output_folder
from dipole.cli._named import loaded_vector
from dipole.files import claimed
from dipole.files.paths import given_file, given_path
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.interventions.activations import SteeringVector


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write a steering vector as a GGUF control vector (llama.cpp).

    Attributes:
        folder: The folder of a fitted steering vector.
        gguf: The file to write.
        overwrite: Replace the file.
        json: Print JSON, one object a line.
    """

    folder: Annotated[str, typer.Argument(metavar="FOLDER")]
    gguf: Annotated[str, typer.Option(metavar="FILE")]
    overwrite: bool = False
    json: bool = False

    def run(self) -> None:
        """Write and print."""
        from dipole.interventions.gguf import export_gguf

        path, gguf = given_path(self.gguf, "The file of --gguf"), self.gguf
        vector = loaded_vector(self.folder, "be a control vector")
        if path.is_dir():
            raise UserError(f"--gguf must name a file, such as clips.gguf, and is {gguf!r}.")
        with claimed(path):
            if path.exists() and not self.overwrite:
                raise UserError(
                    f"{path} exists; add --overwrite to replace it, or choose another name with --gguf."
                )
            export_gguf(vector, path)
        if self.json:
            return emit_json({"gguf": gguf, **_facts(vector)})
        emit(f"{gguf}: {_layers(vector)}, for `llama-cli --control-vector {gguf}`")


@dataclass(frozen=True, kw_only=True)
class For(Source):
    """Which model a vector is for; it is given no text, so nothing is said of how one is read.

    Attributes:
        model: The model that it is for; whether it fits is checked.
    """

    model: str | None = None
    special_tokens: None = field(default=None, init=False)
    plain: None = field(default=None, init=False)


@dataclass(frozen=True, kw_only=True)
class Import:
    """Read a GGUF control vector (llama.cpp, repeng).

    Attributes:
        gguf: A control vector in GGUF.
        out: Folder for the steering vector.
        overwrite: Replace what dipole made in the folder.
        json: Print JSON, one object a line.
    """

    gguf: Annotated[str, typer.Argument(metavar="FILE")]
    out: str
    source: For
    overwrite: bool = False
    json: bool = False

    def run(self) -> None:
        """Read, save and print."""
        from dipole.interventions.gguf import import_gguf
        from dipole.runs import save

        folder, out = output_folder(self.out, self.overwrite), self.out
        vector = import_gguf(given_file(self.gguf, "The control vector"))
        if self.source.model is not None:
            lm = self.source.load()
            vector.apply(lm)
            vector = replace(vector, base_name=self.source.model, base_fingerprint=lm.resident.fingerprint)
        save(vector, folder, self.overwrite)
        if self.json:
            emit_json({"out": out, **_facts(vector)})
        else:
            emit(f"{out}: vector, {_layers(vector)}, width {vector.width}")
        if self.source.model is None and vector.base_fingerprint is None:
            tell(f"dipole: nothing tells which model it is for; give --model with --intervention {out}")


def _facts(vector: SteeringVector) -> dict[str, Any]:
    return {"layers": vector.layers, "width": vector.width, "base": vector.base_name}


def _layers(vector: SteeringVector) -> str:
    return f"layer {', '.join(map(str, vector.layers))} of {vector.base_name}"
