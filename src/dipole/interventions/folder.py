"""What the interventions that we store ourselves share: their folder, and the check that they fit."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dipole.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from dipole.files.reader import COPY_AGAIN, inside, read_json, read_text
from dipole.files.schema import Facts, Field, Maybe, Name, Optional, Table, checked
from dipole.protocols import Intervention, JudgedBy
from dipole.tensors import Wanted, read_tensors
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

META_FILE = "dipole.json"
TENSORS_FILE = "tensors.safetensors"
CARD_FILE = "README.md"
REMEDY = "copy it again from where it was made, fit the control again, or update dipole"

MOST_LAYERS = 9999
_NAME = Name(4096)
_HEAD: dict[str, Field] = {"surface": Optional(Name(40)), "kind": Name(40)}
BASE: dict[str, Field] = {"base": _NAME, "base_fingerprint": Name(64), "facts": Optional(Facts(), {})}
"""Entries of an intervention that fits one model alone."""
ANY_BASE: dict[str, Field] = {
    "base": Optional(_NAME, "an unknown model"),
    "base_fingerprint": Maybe(Name(64)),
    "facts": Optional(Facts(), {}),
}
"""Entries of one of which it may be unknown what it was made for."""


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
            f"{lm.resident.name} (fingerprint {have}). Load the model it was made for with "
            f"model={base_name!r}, or fit the control again on this one."
        )
    return lm.with_intervention(intervention, strength)


def require_fit(
    lm: LM, made_for: str, layers: Sequence[int] = (), width: int | None = None, tokens: Tensor | None = None
) -> None:
    """Refuse an LM that lacks what an intervention reads or changes.

    Args:
        lm: What it is applied to.
        made_for: Name of the model that it was made for.
        layers: Blocks, counted from 0.
        width: Of the residual stream.
        tokens: Token ids.

    Raises:
        UserError: The LM has fewer layers, another width, or fewer tokens.
    """
    from dipole.engaging.blocks import decoder_blocks

    model, name = lm.resident.model, lm.resident.name
    where = f"it was made for {made_for}: load that model"
    if width is not None and width != lm.resident.width:
        raise UserError(
            f"This intervention has width {width}, and the residual stream of {name} has "
            f"{lm.resident.width}; {where}."
        )
    depth = len(decoder_blocks(model)) if layers else 0
    if layers and max(layers) >= depth:
        raise UserError(
            f"This intervention names layer {max(layers)}, and {name} has layers 0 to {depth - 1}; {where}."
        )
    if tokens is not None and tokens.numel():
        rows = model.get_output_embeddings().weight.shape[0]
        if int(tokens.max()) >= rows:
            raise UserError(
                f"This intervention names token {int(tokens.max())}, and {name} has tokens 0 to {rows - 1}; "
                f"{where}."
            )


def write_folder(
    folder: Path, meta: Mapping[str, Any], large: Mapping[str, Tensor] | None = None, card: str = ""
) -> None:
    """Write an intervention: tensors and card first, `dipole.json` last, so a folder that loads is whole.

    Args:
        folder: Made where it is missing.
        meta: Plain data, with `surface` and `kind`.
        large: What does not go into JSON.
        card: Model card in Markdown.
    """
    if large:
        from safetensors.torch import save

        data = {name: tensor.detach().contiguous().cpu() for name, tensor in sorted(large.items())}
        write_bytes_atomic(folder / TENSORS_FILE, save(data, metadata={"format": "pt"}))
    write_text_atomic(folder / CARD_FILE, card or _plain_card(meta))
    write_json_atomic(folder / META_FILE, meta)


def read_meta(folder: Path) -> dict[str, Any]:
    """What `dipole.json` holds, unchecked.

    Raises:
        UserError: It can't be read, or holds no table.
    """
    meta = read_json(inside(folder, META_FILE))
    if not isinstance(meta, dict):
        raise UserError(f"{folder / META_FILE} is truncated or corrupt (it holds no table); {COPY_AGAIN}.")
    return meta


def judged_by(meta: Mapping[str, Any]) -> JudgedBy:
    """The recognizers that had a say in an intervention, as its `dipole.json` tells; none where it does not.

    Args:
        meta: What `read_meta` gave.
    """
    facts = meta.get("facts")
    said = facts.get("judged_by") if isinstance(facts, Mapping) else None
    if not isinstance(said, Mapping):
        said = {"rewarded": [meta.get("recognizer")]}  # of one that a recognizer chooses each time
    roles = (said.get(role) for role in JudgedBy._fields)
    return JudgedBy(*(tuple(n for n in names or () if isinstance(n, str)) for names in roles))


def read_fields(folder: Path, fields: Mapping[str, Field]) -> dict[str, Any]:
    """What `dipole.json` holds, each entry in the type that is declared.

    Args:
        folder: Of the intervention.
        fields: Entries beside `surface` and `kind`.

    Raises:
        UserError: It can't be read, or an entry is missing, unknown, of another type or out of its range.
    """
    return checked(Table({**_HEAD, **fields}), read_meta(folder), folder / META_FILE, REMEDY)


def folder_tensors(folder: Path, wanted: Mapping[str, Wanted]) -> dict[str, Tensor]:
    """The tensors beside `dipole.json`; see `dipole.tensors`.

    Raises:
        UserError: They are missing, damaged, or not what is wanted.
    """
    return read_tensors(inside(folder, TENSORS_FILE), wanted, REMEDY)


def read_card(folder: Path) -> str:
    """The model card; empty where there is none that can be read."""
    try:
        return read_text(inside(folder, CARD_FILE))
    except UserError:
        return ""


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
