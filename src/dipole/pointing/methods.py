"""The ways from a weak label to the strong model's notion; each gives a linear probe on coordinates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.pointing.clusters import best_overlap, k_means, mixture, tree
from dipole.pointing.difference import residual, weighted_difference
from dipole.pointing.fixed_point import fixed_point
from dipole.pointing.noisy import noisy_label_probe
from dipole.pointing.two_clusters import free_weights_em
from dipole.probing.logistic import logistic

Array = NDArray[np.float64]
Method = Literal["intersection", "difference", "residual", "probe", "kmeans", "mixture", "fixed-point"]
METHODS: tuple[Method, ...] = get_args(Method)


class Weak(NamedTuple):
    """What the weak model says of the documents.

    Attributes:
        q: `(n,)` probability of its notion.
        words: `(n, words)` counts of its own top words; may have no column.
    """

    q: Array
    words: Array


class Probe(NamedTuple):
    """Log-odds of the notion: `rows @ weight + bias`.

    Attributes:
        weight: `(width,)`.
        bias: Of the log-odds.
        facts: What the method found on the way, as plain data.
    """

    weight: Array
    bias: float
    facts: Mapping[str, object]

    def log_odds(self, rows: Array) -> Array:
        """`(n,)` nats."""
        found: Array = rows @ self.weight + self.bias
        return found


def difference(rows: Array, weak: Weak, _components: int, _seed: int) -> Probe:
    """The weighted difference, read by Fisher's rule; its mean probability is the weak one."""
    return _along(weighted_difference(weak.q, rows), rows, weak.q)


def residualised(rows: Array, weak: Weak, _components: int, _seed: int) -> Probe:
    """The same with what the topic's own top words predict taken out of the features first."""
    return _along(weighted_difference(weak.q, residual(rows, weak.words)), rows, weak.q)


def noisy_probe(rows: Array, weak: Weak, _components: int, _seed: int) -> Probe:
    """A probe on soft labels with the confidence loss."""
    weight, bias = noisy_label_probe(torch.from_numpy(rows), torch.from_numpy(weak.q))
    return Probe(weight.numpy(), float(bias), {})


def intersection(rows: Array, weak: Weak, components: int, seed: int) -> Probe:
    """The node of the mixture's tree that overlaps most with the weak label."""
    found = mixture(rows, components, seed)
    responsibilities = found.responsibilities(rows)
    overlap = best_overlap(weak.q, responsibilities, tree(found))
    member = responsibilities[:, list(overlap.node)].sum(1)
    facts = {
        "components": components,
        "node": len(overlap.node),
        "jaccard": overlap.jaccard,
        "runner_up": overlap.runner_up,
        "share": float(member.mean()),
    }
    return linear_probe(rows, member, facts)


def one_of_k_means(rows: Array, weak: Weak, components: int, seed: int) -> Probe:
    """The k-means cluster that overlaps most: equal sizes are built into it, so rare notions are lost."""
    labels = k_means(rows, components, seed)
    hard = np.eye(labels.max() + 1)[labels]
    overlap = best_overlap(weak.q, hard, [(i,) for i in range(hard.shape[1])])
    member = hard[:, list(overlap.node)].sum(1)
    return linear_probe(rows, member, {"components": components, "jaccard": overlap.jaccard})


def two_clusters(rows: Array, weak: Weak, _components: int, _seed: int) -> Probe:
    """Two clusters with one covariance and free weights, begun at the weak labels."""
    found = free_weights_em(rows, weak.q)
    facts = {"share": found.share, "rounds": found.rounds, "settled": found.settled}
    return Probe(found.weight, found.bias, facts)


def self_trained(rows: Array, weak: Weak, _components: int, _seed: int) -> Probe:
    """Relabel and refit to a fixed point, the class prior held."""
    found = fixed_point(rows, weak.q > 0.5)
    return Probe(found.weight, found.bias, {"rounds": found.rounds, "settled": found.settled})


FIT: Mapping[Method, Callable[[Array, Weak, int, int], Probe]] = {
    "intersection": intersection,
    "difference": difference,
    "residual": residualised,
    "probe": noisy_probe,
    "kmeans": one_of_k_means,
    "mixture": two_clusters,
    "fixed-point": self_trained,
}


def _along(direction: Array, rows: Array, q: Array) -> Probe:
    """Fisher's discriminant for a direction between means, calibrated on the weak labels by one slope."""
    centred = rows - rows.mean(0)
    spread = centred.T @ centred / len(rows) + 1e-6 * np.eye(rows.shape[1])
    weight = np.linalg.solve(spread, direction)
    margins = rows @ weight
    slope, bias = logistic(torch.from_numpy(margins[:, None]), torch.from_numpy(q), standardise=True)
    return Probe(weight * float(slope), bias, {"norm": float(np.linalg.norm(direction))})


def linear_probe(rows: Array, member: Array, facts: Mapping[str, object]) -> Probe:
    """The linear probe of a membership that is known for every row."""
    weight, bias = logistic(torch.from_numpy(rows), torch.from_numpy(member), standardise=True)
    return Probe(weight.numpy(), bias, facts)
