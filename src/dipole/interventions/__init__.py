"""What a fitted control does to an LM, one file per surface."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.files import settled
from dipole.files.paths import given_path
from dipole.files.reader import inside
from dipole.files.schema import shown
from dipole.interventions.folder import META_FILE, read_meta
from dipole.protocols import Intervention
from dipole.registry import Table, resolve
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.interventions.weights import Adapter

__all__ = ["KINDS", "Adapter", "load_intervention", "parse_intervention"]

# Kind, as `dipole.json` names it, to the class that reads such a folder.
KINDS = Table(
    "intervention",
    {
        "adapter": "dipole.interventions.weights:Adapter",
        "prefix": "dipole.interventions.prompt:Prefix",
        "tag": "dipole.interventions.tag:Tag",
        "best_of": "dipole.interventions.decode:BestOf",
        "vector": "dipole.interventions.activations:SteeringVector",
        "boost": "dipole.interventions.logits:Boost",
        "contrast": "dipole.interventions.logits:Contrast",
        "experts": "dipole.interventions.experts:Experts",
        "pplm": "dipole.interventions.pplm:Pplm",
        "fudge": "dipole.interventions.fudge:Fudge",
        "ilql": "dipole.interventions.ilql:Ilql",
        "pool": "dipole.interventions.tokens:Pool",
    },
)


def load_intervention(folder: str | Path) -> Intervention:
    """Read a saved intervention of any surface.

    Args:
        folder: A folder that `Intervention.save` wrote, a PEFT adapter from elsewhere, or the output
            folder of a run, which holds one in `adapter/`.

    Raises:
        UserError: There is no such folder, it is not an intervention, or a file in it is broken.
    """
    given = given_path(folder, "The intervention")
    settled(given)
    if not given.is_dir():
        what = "is a file" if given.exists() else "does not exist"
        raise UserError(
            f"{folder} {what}; wanted the folder of an intervention, such as the output folder of a run."
        )
    nested = not _holds_intervention(given) and (given / "adapter").is_dir()
    path = inside(given, "adapter") if nested else given
    kind = _kind(path)
    if not isinstance(kind, str) or kind not in KINDS:
        raise UserError(
            f"The intervention in {path} is of the kind {shown(kind)}, which this version of dipole does not "
            f"know (it knows: {', '.join(KINDS)}); update dipole."
        )
    loaded: Intervention = resolve(KINDS, kind).load(path)
    return loaded


def parse_intervention(text: str) -> tuple[str, float]:
    r"""Split `FOLDER:STRENGTH`; the strength is 1 where it is left out.

    Only a last part that reads as a number is a strength, so `C:\runs\clips` and `odd:name` are folders.

    Raises:
        UserError: The folder is empty, or the strength is not finite.
    """
    folder, colon, last = text.rpartition(":")
    strength = _number(last) if colon else None
    if strength is None:
        folder, strength = text, 1.0
    if not math.isfinite(strength):
        raise UserError(
            f"The strength in {text!r} must be a finite number, such as {folder or 'FOLDER'}:0.5."
        )
    if not folder:
        raise UserError(
            f"{text!r} names no folder; wanted FOLDER or FOLDER:STRENGTH, such as runs/clips:0.5."
        )
    return folder, strength


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _holds_intervention(folder: Path) -> bool:
    return (folder / META_FILE).is_file() or (folder / "adapter_config.json").is_file()


def _kind(folder: Path) -> Any:
    if (folder / META_FILE).is_file():
        meta = read_meta(folder)
        # Adapters of the first version have a surface alone.
        return meta.get("kind", "adapter" if meta.get("surface") == "weights" else meta.get("surface"))
    if any(
        (folder / name).is_file()
        for name in ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")
    ):
        return "adapter"
    whole = any((folder / name).is_file() for name in ("config.json", "lm.json"))
    hint = " It is a whole model: use model=…." if whole else ""
    raise UserError(
        f"{folder} holds no intervention (no {META_FILE} and no adapter_config.json).{hint} Give the output "
        "folder of a run that has finished, or a PEFT adapter."
    )


def __getattr__(name: str) -> Any:
    """Import `Adapter` when it is first used."""
    if name == "Adapter":
        return import_module("dipole.interventions.weights").Adapter
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
