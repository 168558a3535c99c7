"""Whether a vector that came from another model steers as one of the model's own would.

Its effect, and what is left of the native one's, is worked out in `evaluation.response`. Nothing here chose a
layer, a map or a lambda.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dipole.concepts import Dipole
from dipole.controls.layers import METHODS, Method
from dipole.controls.vector import Vector, at_norm
from dipole.evaluation.response import ALL, Array, Response, response
from dipole.evaluation.statistics import resampling
from dipole.interventions.activations import SteeringVector
from dipole.progress import Progress, silent
from dipole.protocols import LM
from dipole.reading.pairs import read_pairs, sentence
from dipole.reading.told import Told, leanings, tell, told_by
from dipole.stitching.diagnostics import Against, cosine_against_null, random_map, shuffled_labels
from dipole.stitching.fitting import Stitch
from dipole.stitching.mapping import layer_norms, mapped_vector
from dipole.types import UserError

STRENGTHS = (-1.0, -0.5, 0.5, 1.0)
RANDOM_DRAWS = 8


@dataclass(frozen=True)
class Transfer:
    """The verification of a translated vector.

    Attributes:
        strengths: Of the curves, 0 among them.
        relative: Norm at strength 1 in units of each layer's median activation norm.
        responses: Source, native, translated, then the nulls.
        cosine: Of the translated with the native direction at the same layer, against its null.
        prompts: Prompts that were continued.
        held_out: Whether nothing was fitted on them.
        n: Pairs of completions a model.
    """

    strengths: tuple[float, ...]
    relative: float
    responses: tuple[Response, ...]
    cosine: Against
    prompts: tuple[str, ...]
    held_out: bool
    n: int

    def __getitem__(self, name: str) -> Response:
        """The response of that name."""
        return next(response for response in self.responses if response.name == name)


def verify(
    vector: SteeringVector,
    translated: SteeringVector,
    stitch: Stitch,
    source: LM,
    target: LM,
    dipole: Dipole,
    n: int = 48,
    max_new_tokens: int = 28,
    seed: int = 0,
    progress: Progress = silent,
    native: SteeringVector | None = None,
) -> Transfer:
    """Measure the source's vector at home and, in the target, native, translated and null vectors.

    Args:
        vector: Of the source.
        translated: Of the target.
        stitch: How it was translated.
        source: LM of the vector.
        target: LM of the translated one.
        dipole: What the vector is about; its held-out prompts are continued, or its prompts if it has none.
        n: Pairs of completions a model, spread over the prompts.
        max_new_tokens: Token budget of a completion.
        seed: Seed of completions, nulls and resamples.
        progress: Told what is measured next.
        native: The target's own vector; None to fit one by the same control.

    Raises:
        UserError: As for `require_measurable`.
    """
    prompts = require_measurable(vector, dipole, (source, target), max_new_tokens)
    relative = translated.relative[0]
    if native is None:
        method: Method = next((m for m in METHODS if m == vector.facts.get("method")), "mean-difference")
        native = Vector(method=method, max_new_tokens=max_new_tokens).fit(target, dipole)
    median = layer_norms(target, dipole.prompts or prompts, native.layers[0])[0]
    native = native.scaled(relative * median / float(native.vectors[0].double().norm()))
    groups = _groups(vector, translated, stitch, source, target, dipole, native, relative, seed)
    told = {id(lm): tell(lm.base, dipole, prompts, n, max_new_tokens, seed) for lm in (source, target)}
    plan = resampling([prompts.index(p) for p in told[id(target)].prompts], seed)
    units: dict[str, list[Array]] = {}
    for name, _, lm, vectors in groups:
        progress(f"measuring {name}")
        units[name] = _measured(lm, vectors, told[id(lm)])
    responses = tuple(
        response(name, label, vectors[0].layers[0], units[name], units["native"], plan)
        for name, label, _, vectors in groups
    )
    reading = read_pairs(target, dipole, dipole.prompts or prompts, [stitch.target_layer])
    own = reading.claim[0].double().mean(0) - reading.against[0].double().mean(0)
    cosine = cosine_against_null(stitch.map, vector.vectors[0], own, seed=seed)
    return Transfer(ALL, relative, responses, cosine, prompts, bool(dipole.held_out), n)


def require_measurable(
    vector: SteeringVector, dipole: Dipole, lms: Sequence[LM], max_new_tokens: int
) -> tuple[str, ...]:
    """The prompts that `verify` will continue.

    Raises:
        UserError: The vector takes no side, or the dipole has no prompts, or ones that are too long.
    """
    if vector.operator != "add":
        raise UserError(
            f"A vector with the operator {vector.operator} takes no side, so its effect can't be compared; "
            "leave out the dipole, or translate one with the operator add."
        )
    prompts = dipole.held_out or dipole.prompts
    if not prompts:
        raise UserError(
            f"The dipole {dipole.label!r} has no prompts to measure on; give it some that leave the choice "
            "open."
        )
    for lm in lms:
        for pole in (dipole.claim, dipole.against):
            for prompt in prompts:
                told_by(lm, sentence(pole)).require_room(prompt, max_new_tokens)
    return tuple(prompts)


def _groups(
    vector: SteeringVector,
    translated: SteeringVector,
    stitch: Stitch,
    source: LM,
    target: LM,
    dipole: Dipole,
    native: SteeringVector,
    relative: float,
    seed: int,
) -> list[tuple[str, str, LM, list[SteeringVector]]]:
    norms = translated.activation_norms[0], translated.mean_norms[0]

    def through(made: SteeringVector, size: float = 1.0, other: Any = None) -> SteeringVector:
        return mapped_vector(made, stitch, target, relative * size, norms, other)

    pairs = read_pairs(source, dipole, dipole.prompts or dipole.held_out, vector.layers)
    whole = float((pairs.claim[0].double().mean(0) - pairs.against[0].double().mean(0)).norm())
    mixed = [shuffled_labels(pairs.claim[0], pairs.against[0], seed + k) for k in range(RANDOM_DRAWS)]
    # At their own size, since what shuffled labels leave of a vector is small; blown up to its norm it is
    # mostly how unequally the pairs tell the poles apart.
    turned = [(replace(vector, vectors=m[None].float()), float(m.norm()) / whole) for m in mixed]
    at_home = vector if np.isnan(vector.relative[0]) else at_norm(vector, relative)
    randoms = [random_map(stitch.map, seed + k) for k in range(RANDOM_DRAWS)]
    return [
        ("source", f"its own, in {source.resident.name}", source, [at_home]),
        ("native", f"native, fitted in {target.resident.name}", target, [native]),
        ("translated", "translated", target, [translated]),
        ("shuffled", "map of shuffled pairs", target, [through(vector, other=m) for m in stitch.shuffled]),
        ("random", "random map", target, [through(vector, other=m) for m in randoms]),
        ("labels", "shuffled labels, translated", target, [through(v, size) for v, size in turned]),
    ]


def _measured(lm: LM, vectors: Sequence[SteeringVector], told: Told) -> list[Array]:
    """For each vector log-odds in nats, `(strengths, units)`, 0 among the strengths."""
    base = leanings(lm, told).numpy()
    found = []
    for made in vectors:
        rows = {s: leanings(made.apply(lm, s), told).numpy() for s in STRENGTHS}
        found.append(np.stack([base if s == 0.0 else rows[s] for s in ALL]))
    return found
