"""The activations surface: vectors that are added to the residual stream, or taken out of it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from dipole.engaging.operators import OPERATORS, Operator
from dipole.engaging.stack import Frame
from dipole.engaging.vectors import Direction, put_in
from dipole.files.schema import Choice, Field, Flag, Items, Maybe, Name, Number, Optional, Table, Whole, shown
from dipole.interventions.folder import (
    ANY_BASE,
    MOST_LAYERS,
    checked_apply,
    folder_tensors,
    read_card,
    read_fields,
    read_meta,
    require_fit,
    write_folder,
)
from dipole.protocols import LM
from dipole.tensors import Wanted, aligned
from dipole.types import Surface, UserError

CONVENTION = "output of decoder block, blocks counted from 0"
"""How layers are counted; a saved vector that does not record it is refused."""

_READ_TOKENS = ("last", "unknown")


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """One vector for each of some layers, and what is done with it there.

    How strength s acts, with v a layer's vector, which points towards the claim:

    - `add`: `h + s v`. -1 pushes the other way.
    - `piecewise`: `h + s sign(h·v) v`. Each token is moved the way it leans already; a negative s damps
      that lean. It takes no side.
    - `project`: `h - s (h·v) v / |v|²` at the named layers. 1 removes the component, a negative s makes it
      larger. It takes no side.
    - `ablate`: the same for everything that is written to the residual stream: embeddings and the output of
      each attention and MLP, whatever layer the vector was read at. It takes no side.

    Attributes:
        layers: Blocks after which the vectors act, counted from 0.
        vectors: `(len(layers), width)` float32; `add` adds exactly this at strength 1.
        operator: What is done.
        keep_norm: Rescale each changed state to the norm that it had.
        signs: For each layer 1, or -1 where the direction came out of its method (PCA) the other way round
            and was turned. The vectors have their sign already.
        activation_norms: Median norm of the states after each layer when the vector was fitted, the first
            token left out; NaN where unknown.
        mean_norms: Mean of the same.
        read_token: Where activations were read, `last` or `unknown`.
        template_hash: Identifies the wordings that they were read from.
        base_fingerprint: Of the model that it was fitted on; None where unknown, and then any model of the
            right width takes it.
        base_name: Name of that model.
        model_type: Its architecture as Hugging Face calls it, such as `llama`; empty where unknown.
        facts: How it was made, as plain data: the curve over layers and scales, and what it cannot do.
        card: Model card in Markdown.
    """

    layers: tuple[int, ...]
    vectors: Tensor
    operator: Operator = "add"
    keep_norm: bool = False
    signs: tuple[int, ...] = ()
    activation_norms: tuple[float, ...] = ()
    mean_norms: tuple[float, ...] = ()
    read_token: str = "unknown"
    template_hash: str = ""
    base_fingerprint: str | None = None
    base_name: str = "an unknown model"
    model_type: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "activations"
    kind: ClassVar[str] = "vector"
    graded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse what does not fit together.

        Raises:
            UserError: Shapes, layers or the operator are wrong, or a vector is zero or not finite.
        """
        if self.operator not in OPERATORS:
            raise UserError(f"The operator must be one of {', '.join(OPERATORS)}, and is {self.operator!r}.")
        count = len(self.layers)
        if self.vectors.ndim != 2 or len(self.vectors) != count or not count:
            raise UserError(
                f"A steering vector needs one row for each of its layers, and has shape "
                f"{tuple(self.vectors.shape)} for layers {list(self.layers)}."
            )
        if len(set(self.layers)) != count or min(self.layers) < 0:
            raise UserError(
                f"The layers of a vector are different numbers from 0 on, and are {list(self.layers)}."
            )
        norms = self.vectors.norm(dim=-1)
        if not bool(norms.isfinite().all()) or not bool((norms > 0).all()):
            raise UserError(
                "A steering vector must be finite and not zero; fit it on prompts that tell the poles apart."
            )
        if self.operator == "ablate" and (count != 1 or self.keep_norm):
            raise UserError(
                "Ablation takes one direction out of every layer, and cannot keep norms; give one row, or "
                "use the operator project."
            )
        object.__setattr__(self, "vectors", aligned(self.vectors.to("cpu", torch.float32)))
        for name, default in (("signs", 1), ("activation_norms", float("nan")), ("mean_norms", float("nan"))):
            if not getattr(self, name):
                object.__setattr__(self, name, (default,) * count)
            if len(getattr(self, name)) != count:
                raise UserError(f"{name} needs one number for each of the {count} layers of the vector.")

    @property
    def width(self) -> int:
        """Width of the residual stream that it fits."""
        return self.vectors.shape[1]

    @property
    def unit_vectors(self) -> Tensor:
        """`(len(layers), width)` float64, each of norm 1."""
        wide = self.vectors.double()
        units: Tensor = wide / wide.norm(dim=-1, keepdim=True)
        return units

    @property
    def relative(self) -> tuple[float, ...]:
        """Norm of what strength 1 adds, in units of the layer's own median activation norm.

        0.02 to 0.5 is usual; with more than 1 the states are replaced rather than steered.
        """
        norms = self.vectors.double().norm(dim=-1).tolist()
        return tuple(norm / own for norm, own in zip(norms, self.activation_norms, strict=True))

    def scaled(self, factor: float) -> SteeringVector:
        """The vector whose strength 1 is strength `factor` of this one."""
        return replace(self, vectors=self.vectors * factor)

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with the vector at work at every position.

        Raises:
            UserError: The vector was fitted on another model, or the model has other layers or another width.
        """
        steered = checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)
        require_fit(lm, self.base_name, self.layers, self.width)
        return steered

    @staticmethod
    def put_in(frame: Frame, parts: Sequence[tuple[SteeringVector, float]]) -> None:
        """Have vectors with their strengths at work in the model of an engagement."""
        put_in(frame, [(Direction(v.operator, v.layers, v.vectors, v.keep_norm), s) for v, s in parts])

    def save(self, folder: Path) -> None:
        """Write `dipole.json`, the vectors and a card."""
        per_layer = zip(
            self.layers, self.signs, self.activation_norms, self.mean_norms, self.relative, strict=True
        )
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            "base": self.base_name,
            "base_fingerprint": self.base_fingerprint,
            "model_type": self.model_type,
            "operator": self.operator,
            "keep_norm": self.keep_norm,
            "layer_convention": CONVENTION,
            "layers": [
                {
                    "layer": layer,
                    "sign": sign,
                    "median_norm": median,
                    "mean_norm": mean,
                    "relative_norm": share,
                }
                for layer, sign, median, mean, share in per_layer
            ],
            "read_token": self.read_token,
            "template_hash": self.template_hash,
            "facts": self.facts,
        }
        write_folder(folder, meta, {"vectors": self.vectors}, self.card or _card(self))

    @classmethod
    def load(cls, folder: Path) -> SteeringVector:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read, or does not record how its layers are counted.
        """
        found = read_meta(folder).get("layer_convention")
        if found != CONVENTION:
            raise UserError(
                f"The vector in {folder} must record the layer convention {CONVENTION!r}, and has "
                f"{shown(found)}, so it could act at the wrong place; fit it again."
            )
        meta = read_fields(folder, _FIELDS)
        layers = meta["layers"]
        stored = folder_tensors(folder, {"vectors": Wanted("float", (len(layers), "width"))})
        return cls(
            tuple(entry["layer"] for entry in layers),
            stored["vectors"],
            meta["operator"],
            meta["keep_norm"],
            tuple(entry["sign"] for entry in layers),
            tuple(entry["median_norm"] for entry in layers),
            tuple(entry["mean_norm"] for entry in layers),
            meta["read_token"],
            meta["template_hash"],
            meta["base_fingerprint"],
            meta["base"],
            meta["model_type"],
            meta["facts"],
            read_card(folder),
        )


NORM = Maybe(Number(0, 1e30), math.nan)
LAYER = Whole(0, MOST_LAYERS)
SIGN = Whole(-1, 1)
_FIELDS: dict[str, Field] = {
    **ANY_BASE,
    "model_type": Optional(Name(100), ""),
    "operator": Choice(OPERATORS),
    "keep_norm": Optional(Flag(), False),
    "layer_convention": Name(100),
    "layers": Items(
        Table(
            {
                "layer": LAYER,
                "sign": SIGN,
                "median_norm": NORM,
                "mean_norm": NORM,
                "relative_norm": Optional(NORM),
            }
        ),
        1,
        MOST_LAYERS + 1,
    ),
    "read_token": Optional(Name(40), "unknown"),
    "template_hash": Optional(Name(100), ""),
}


_DOES = {
    "add": "adds a vector to the residual stream; negative strength pushes the other way",
    "piecewise": "moves each token the way it leans already; it takes no side",
    "project": "removes a component of the residual stream; it takes no side",
    "ablate": "removes a direction from everything that is written to the residual stream; it takes no side",
}


def _card(vector: SteeringVector) -> str:
    named = json.dumps(vector.base_name)
    rows = "\n".join(
        f"| {layer} | {norm:.4g} | {share:.3g} |"
        for layer, norm, share in zip(
            vector.layers, vector.vectors.norm(dim=-1).tolist(), vector.relative, strict=True
        )
    )
    return (
        f"---\nlibrary_name: dipole\nbase_model: {named}\ntags:\n- dipole\n- steering-vector\n---\n\n"
        f"# A steering vector for {vector.base_name}\n\n"
        f"Made with dipole. It {_DOES[vector.operator]}. Layers: {CONVENTION}.\n\n"
        "| layer | norm at strength 1 | in units of the layer's median activation norm |\n|---|---|---|\n"
        f"{rows}\n\n"
        f"```python\nimport dipole\n\nlm = dipole.load({named})\n"
        "steered = dipole.load_intervention(folder).apply(lm, 1.0)\n```\n"
    )
