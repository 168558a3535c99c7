"""From weak labels and features at several layers to one notion, without a look at the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dipole.pointing.clusters import agreement
from dipole.pointing.methods import FIT, METHODS, Method, Probe, Weak
from dipole.pointing.space import Space
from dipole.recognizers.pooled import Features
from dipole.types import UserError

Array = NDArray[np.float64]
COMPONENTS = (6, 12, 20)
RULE = (
    "the candidate whose members agree most with those of the other candidates (mean Jaccard less chance, "
    "over layers and numbers of clusters): a notion that is there does not depend on how it is looked at"
)
Way = Literal["auto"] | Method
WAYS: tuple[Way, ...] = ("auto", *METHODS)
FALLBACK: Method = "fixed-point"
_CLUSTERED: tuple[Method, ...] = ("intersection", "kmeans")
_FEWEST = 20
_MOST_SHARE, _LEAST_STABILITY = 0.8, 0.6


class Candidate(NamedTuple):
    """One way of looking.

    Attributes:
        layer: Block whose output was read.
        components: Clusters; 0 for a method without any.
        probe: What was found, on coordinates of `space`.
        space: Of that layer.
        stability: Mean agreement with the other candidates, 0 by chance and 1 at most; None where there is no
            other.
    """

    layer: int
    components: int
    probe: Probe
    space: Space
    stability: float | None


@dataclass(frozen=True, eq=False)
class Notion:
    """A linear probe on the features of one layer.

    Attributes:
        method: How it was found.
        layer: Block whose output it reads, counted from 0.
        weight: `(width,)` float64.
        bias: Of the log-odds, nats.
        facts: The candidates with their stability and overlap, as plain data.
    """

    method: Method
    layer: int
    weight: Tensor
    bias: float
    facts: dict[str, Any]

    def log_odds(self, features: Features) -> Array:
        """`(n,)` nats."""
        odds: Array = (features.at(self.layer).double() @ self.weight + self.bias).numpy()
        return odds


def check_weak(q: Array) -> None:
    """Refuse weak labels that point at nothing.

    Args:
        q: `(n,)` weak probabilities.

    Raises:
        UserError: Too few documents, or all of them on one side.
    """
    n, positives = len(q), int((q > 0.5).sum())
    if n < _FEWEST:
        raise UserError(f"Pointing needs at least {_FEWEST} documents, and got {n}; give a larger corpus.")
    if positives in (0, n):
        side = "no document is" if positives == 0 else "every document is"
        raise UserError(
            f"With this topic {side} more than half about it, so it points at nothing; choose another topic, "
            "or a corpus that has other documents too."
        )


def refine(
    features: Features,
    weak: Weak,
    method: Way = "auto",
    components: Sequence[int] = COMPONENTS,
    width: int = 24,
    seed: int = 0,
) -> Notion:
    """The strong model's notion that the weak labels point at.

    Methods with clusters try every layer and number of clusters and take the most stable candidate; the
    others read the middle one of the layers. `auto` is the intersection, but self-training with its prior
    held where that points at nearly everything (`diffuse`); the facts then tell `instead_of`.

    Args:
        features: Of the documents to fit on.
        weak: What the weak model says of the same documents.
        method: One of `WAYS`.
        components: Numbers of clusters to try.
        width: Principal components of a layer that are used.
        seed: Of the clusters' starts.

    Raises:
        UserError: Too few documents, or the weak labels are all on one side.
    """
    if method != "auto":
        return _refined(features, weak, method, components, width, seed)
    first = _refined(features, weak, "intersection", components, width, seed)
    reason = diffuse(first, features)
    if reason is None:
        return first
    second = _refined(features, weak, FALLBACK, components, width, seed)
    instead = {
        "reason": reason,
        **{k: first.facts[k] for k in ("method", "layer", "stability", "candidates")},
    }
    return replace(second, facts={**second.facts, "instead_of": instead})


def diffuse(notion: Notion, features: Features) -> str | None:
    """Why what was found points at nothing: it is nearly everything; None where it is not."""
    share = float((notion.log_odds(features) > 0).mean())
    if share <= _MOST_SHARE:
        return None
    return (
        f"it holds {100 * share:.0f}% of the documents, so the topic is too diffuse to choose among the "
        "model's clusters"
    )


def unstable(notion: Notion) -> str | None:
    """Why what was found may be none of the model's own notions; None where there is no such reason."""
    stability = notion.facts["stability"]
    if stability is None or stability >= _LEAST_STABILITY:
        return None
    return (
        f"it depends on how it is looked at (agreement beyond chance {stability:.2f} over layers and "
        "numbers of clusters)"
    )


def _refined(
    features: Features, weak: Weak, method: Method, components: Sequence[int], width: int, seed: int
) -> Notion:
    n = len(features.values)
    check_weak(weak.q)
    clustered = method in _CLUSTERED
    layers = features.layers if clustered else (features.layers[len(features.layers) // 2],)
    numbers = numbers_of(components, n) if clustered else [0]
    found = _candidates(features, weak, method, layers, numbers, width, seed)
    best = max(found, key=lambda c: c.stability or 0.0)
    weight, bias = best.space.lift(best.probe.weight, best.probe.bias)
    facts = {
        "method": method,
        "rule": RULE if clustered else "the middle one of the layers",
        "documents": n,
        "weak_share": float((weak.q > 0.5).mean()),
        "layer": best.layer,
        "stability": best.stability,
        "candidates": [
            {"layer": c.layer, "stability": c.stability, "explained": c.space.explained, **c.probe.facts}
            for c in found
        ],
    }
    return Notion(method, best.layer, weight, bias, facts)


def numbers_of(components: Sequence[int], n: int) -> list[int]:
    """Numbers of clusters that `n` documents can fill."""
    return sorted({max(2, min(c, n // 5)) for c in components})


def _candidates(
    features: Features,
    weak: Weak,
    method: Method,
    layers: Sequence[int],
    numbers: Sequence[int],
    width: int,
    seed: int,
) -> list[Candidate]:
    found, members = [], []
    for layer in layers:
        space = Space.fit(features.at(layer), width)
        rows = space.project(features.at(layer))
        for count in numbers:
            probe = FIT[method](rows, weak, count, seed)
            found.append(Candidate(layer, count, probe, space, None))
            members.append(probe.log_odds(rows) > 0)
    if len(found) == 1:
        return found
    agreed = np.array([[agreement(a, b) for b in members] for a in members])
    mean = (agreed.sum(1) - np.diag(agreed)) / (len(found) - 1)
    return [c._replace(stability=float(s)) for c, s in zip(found, mean, strict=True)]
