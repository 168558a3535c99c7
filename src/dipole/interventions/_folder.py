"""What the interventions that we store ourselves share: their folder, and the check that they fit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dipole.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from dipole.types import Intervention, UserError

if TYPE_CHECKING:
    from dipole.lm import LM

META_FILE = "dipole.json"
TENSORS_FILE = "tensors.safetensors"


def checked_apply(
    intervention: Intervention, lm: LM, strength: float, base_name: str, base_fingerprint: str | None
) -> LM:
    """The LM with an intervention that fits it.

    Args:
        intervention: What is applied.
        lm: What it is applied to.
        strength: 0 is the base, 1 as fitted. An intervention that is not graded takes 0 and 1 alone.
        base_name: The model it was fitted on.
        base_fingerprint: That model's fingerprint; None for an intervention that fits any model.

    Raises:
        UserError: The strength is no number, or one that the intervention does not have, or the
            intervention was fitted on another model.
    """
    if not math.isfinite(strength):
        raise UserError(
            f"The strength must be a finite number, and is {strength}; 0 is the base, 1 as fitted."
        )
    kind = intervention.kind
    if not intervention.graded and strength not in (0.0, 1.0):
        raise UserError(
            f"{kind!r} has no graded strength: use it at strength 1 (on) or 0 (off), not {strength:g}."
        )
    have = lm.resident.fingerprint
    if base_fingerprint is not None and base_fingerprint != have:
        raise UserError(
            f"This {kind} was made for {base_name} (fingerprint {base_fingerprint}), but the loaded model is "
            f"{lm.resident.name} (fingerprint {have}). Load the model it was made for with --model "
            f"{base_name}, or fit the control again on this one."
        )
    return lm.with_intervention(intervention, strength)


def write_folder(
    folder: Path, meta: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None, card: str = ""
) -> None:
    """Write an intervention: tensors and card first, `dipole.json` last, so a folder that loads is whole.

    Args:
        folder: Made where it is missing.
        meta: Plain data, with `surface` and `kind`.
        tensors: What does not go into JSON.
        card: Model card in Markdown.
    """
    if tensors:
        from safetensors.torch import save

        data = {name: tensor.detach().contiguous().cpu() for name, tensor in sorted(tensors.items())}
        write_bytes_atomic(folder / TENSORS_FILE, save(data, metadata={"format": "pt"}))
    write_text_atomic(folder / "README.md", card or _plain_card(meta))
    write_json_atomic(folder / META_FILE, meta)


def read_meta(folder: Path) -> dict[str, Any]:
    """What `dipole.json` holds.

    Raises:
        UserError: It can't be read.
    """
    path = folder / META_FILE
    try:
        meta = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} can't be read ({error}): it is truncated or corrupt; copy the intervention again from "
            "where it was made."
        ) from error
    if not isinstance(meta, dict):
        raise UserError(f"{path} is truncated or corrupt (it holds no table); copy the intervention again.")
    return meta


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors beside `dipole.json`.

    Raises:
        UserError: They are missing, truncated, corrupt or not finite.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / TENSORS_FILE
    try:
        tensors: dict[str, Tensor] = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(
            f"{path} can't be read ({' '.join(str(error).split())[:200]}): it is missing, truncated or "
            "corrupt; copy the intervention again from where it was made."
        ) from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise UserError(f"{path} can't be used: {name} has values that are not finite; fit it again.")
    return tensors


def need(meta: Mapping[str, Any], folder: Path, *names: str) -> list[Any]:
    """Entries of `dipole.json` that an intervention can't do without.

    Raises:
        UserError: One is missing.
    """
    missing = [name for name in names if name not in meta]
    if missing:
        raise UserError(
            f"{folder / META_FILE} has no {missing[0]!r}, so the intervention can't be used: it is damaged "
            "or of another version of dipole; fit it again."
        )
    return [meta[name] for name in names]


def _plain_card(meta: Mapping[str, Any]) -> str:
    base = meta.get("base")
    named = json.dumps(base) if base else ""
    front = f"---\nlibrary_name: dipole\nbase_model: {named}\ntags:\n- dipole\n---\n\n" if base else ""
    return (
        f"{front}# A {meta.get('kind')}{f' for {base}' if base else ''}\n\n"
        f"Made with dipole; it works on the {meta.get('surface')} surface of a language model.\n\n"
        f"```python\nimport dipole\n\nlm = dipole.load({named})\n"
        "steered = dipole.load_intervention(folder).apply(lm, 1.0)\n```\n"
    )
