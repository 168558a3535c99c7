"""A steering vector of one LM as a steering vector of another, through a map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from dipole.engaging.blocks import decoder_blocks
from dipole.interventions.activations import SteeringVector
from dipole.protocols import LM
from dipole.reading.pairs import read_last
from dipole.stitching.fitting import Stitch
from dipole.stitching.ridge import Map
from dipole.types import UserError


def depth_of(lm: LM) -> int:
    """How many decoder blocks an LM has."""
    return len(decoder_blocks(lm.resident.model))


def candidate_layers(layer: int, source_depth: int, target_depth: int) -> tuple[int, ...]:
    """Layers of the target around equal relative depth, `(l + 1) / depth` counted behind the block.

    The centre with a twelfth of the depth (at least one layer) to either side; the first block is left out
    where there is another, because its output hardly knows more than the token itself.
    """
    centre = round((layer + 1) / source_depth * target_depth) - 1
    step = max(1, round(target_depth / 12))
    first = min(1, target_depth - 1)
    found = (min(max(at, first), target_depth - 1) for at in (centre - step, centre, centre + step))
    return tuple(sorted(set(found)))


def require_vector(vector: SteeringVector, source: LM) -> None:
    """Refuse what can't be translated.

    Raises:
        UserError: The vector was not made for the source, or acts after several layers.
    """
    resident = source.resident
    if vector.base_fingerprint is not None and vector.base_fingerprint != resident.fingerprint:
        raise UserError(
            f"The vector was made for {vector.base_name} (fingerprint {vector.base_fingerprint}), and --from "
            f"is {resident.name} (fingerprint {resident.fingerprint}); give the model that it was made for, "
            f"--from {vector.base_name}."
        )
    vector.apply(source, 0.0)  # says so where width or layers do not fit
    if len(vector.layers) > 1:
        raise UserError(
            f"A vector after one layer can be translated, and this one acts after {len(vector.layers)} "
            f"({', '.join(map(str, vector.layers))}); fit one with the control vector, which takes one layer."
        )


def relative_norm(vector: SteeringVector, source: LM, texts: Sequence[str]) -> float:
    """Norm of the vector in units of the source's median activation norm at its layer.

    Args:
        vector: Of the source, after one layer.
        source: Its LM.
        texts: Read where the vector does not know that norm.
    """
    known = vector.relative[0]
    if math.isfinite(known):
        return known
    median = layer_norms(source, texts, vector.layers[0])[0]
    return float(vector.vectors[0].double().norm()) / median


def layer_norms(lm: LM, texts: Sequence[str], layer: int) -> tuple[float, float]:
    """Median and mean norm of the states after a layer over all tokens of some texts but the first."""
    sizes = read_last(lm, texts, [layer])[1][0]
    return float(sizes.median()), float(sizes.mean())


def mapped_vector(
    vector: SteeringVector,
    stitch: Stitch,
    target: LM,
    relative: float,
    norms: tuple[float, float],
    through: Map | None = None,
    facts: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """The vector of the target whose strength 1 has the same relative norm as the source's.

    Ridge shrinks, and streams have their own sizes, so the map gives the direction alone.

    Args:
        vector: Of the source, after one layer.
        stitch: Where it goes.
        target: LM that it is for.
        relative: Norm at strength 1 in units of the target's median activation norm.
        norms: That median, and the mean.
        through: Another map in place of the stitch's own, for nulls.
        facts: How it was made.

    Raises:
        UserError: The map takes the vector to nothing.
    """
    raw = (through or stitch.map).vectors(vector.vectors[0])
    size = float(raw.norm())
    if not math.isfinite(size) or size <= 0.0:
        raise UserError(
            f"The map takes the vector to nothing after layer {stitch.target_layer} of "
            f"{target.resident.name}; give a corpus that speaks of what the vector is about."
        )
    resident = target.resident
    return replace(
        vector,
        layers=(stitch.target_layer,),
        vectors=(raw * (relative * norms[0] / size))[None].to(torch.float32),
        signs=(1,),
        activation_norms=norms[:1],
        mean_norms=norms[1:],
        base_fingerprint=resident.fingerprint,
        base_name=resident.name,
        model_type=str(resident.model.config.model_type),
        facts=facts or {},
        card="",
    )
