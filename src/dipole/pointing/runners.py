"""Each method as a function from starting labels to a probe, with what no label changes done once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import combinations
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from dipole.pointing.clusters import Node, agreement, best_overlap, k_means, mixture, tree
from dipole.pointing.fixed_point import fixed_point
from dipole.pointing.methods import Probe, linear_probe
from dipole.pointing.refine import numbers_of
from dipole.pointing.space import Space
from dipole.pointing.two_clusters import free_weights_em
from dipole.recognizers.pooled import Features

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Runner = Literal["intersection", "kmeans", "fixed-point", "fixed-point-free", "mixture"]
RUNNERS: tuple[Runner, ...] = get_args(Runner)
SAYS: Mapping[Runner, str] = {
    "intersection": "the node of the model’s own cluster tree that overlaps most with the start",
    "kmeans": "the k-means cluster that overlaps most with the start",
    "fixed-point": "relabel and refit until nothing changes, as many positives as at the start",
    "fixed-point-free": "relabel and refit until nothing changes, any number of positives",
    "mixture": "two Gaussian clusters with one covariance and free weights, begun at the start",
}


class Outcome(NamedTuple):
    """What a start became.

    Attributes:
        probe: On coordinates of its layer's space.
        layer: That layer.
        rounds: How often labels were made anew.
        settled: Whether it had stopped changing.
    """

    probe: Probe
    layer: int
    rounds: int
    settled: bool


Run = Callable[[Labels], Outcome]


def runner(
    name: Runner, features: Features, spaces: Mapping[int, Space], numbers: Sequence[int], seed: int
) -> Run:
    """The method of that name.

    Args:
        name: One of `RUNNERS`.
        features: Of the documents to fit on.
        spaces: Of each layer.
        numbers: Numbers of clusters to try.
        seed: Of the clusters' starts.
    """
    rows = {layer: spaces[layer].project(features.at(layer)) for layer in features.layers}
    if name in ("intersection", "kmeans"):
        counts = numbers_of(numbers, len(features.values))
        return Overlapping(rows, [(layer, k) for layer in features.layers for k in counts], name, seed)
    middle = features.layers[len(features.layers) // 2]
    if name == "mixture":
        return partial(_mixture, rows[middle], middle)
    return partial(_self_trained, rows[middle], middle, float("nan") if name == "fixed-point-free" else None)


def _self_trained(rows: Array, layer: int, prior: float | None, start: Labels) -> Outcome:
    found = fixed_point(rows, start, prior)
    return Outcome(Probe(found.weight, found.bias, {}), layer, found.rounds, found.settled)


def _mixture(rows: Array, layer: int, start: Labels) -> Outcome:
    found = free_weights_em(rows, start.astype(np.float64))
    return Outcome(Probe(found.weight, found.bias, {}), layer, found.rounds, found.settled)


class Overlapping:
    """Cluster overlap as `refine` does it, for many starts: clusters are fitted once, probes when needed."""

    def __init__(
        self, rows: Mapping[int, Array], candidates: Sequence[tuple[int, int]], name: Runner, seed: int
    ) -> None:
        self.rows, self.candidates = rows, candidates
        self.responsibilities: list[Array] = []
        self.nodes: list[list[Node]] = []
        for layer, count in candidates:
            if name == "kmeans":
                labels = k_means(rows[layer], count, seed)
                self.responsibilities.append(np.eye(labels.max() + 1)[labels])
                self.nodes.append([(i,) for i in range(int(labels.max()) + 1)])
            else:
                found = mixture(rows[layer], count, seed)
                self.responsibilities.append(found.responsibilities(rows[layer]))
                self.nodes.append(tree(found))
        self._probes: dict[tuple[int, Node], tuple[Probe, Labels]] = {}
        self._agreement: dict[tuple[tuple[int, Node], tuple[int, Node]], float] = {}

    def __call__(self, start: Labels) -> Outcome:
        """The most stable candidate."""
        q = start.astype(np.float64)
        chosen = [
            (k, best_overlap(q, r, nodes).node)
            for k, (r, nodes) in enumerate(zip(self.responsibilities, self.nodes, strict=True))
        ]
        agreed = np.zeros(len(chosen))
        for i, j in combinations(range(len(chosen)), 2):
            agreed[[i, j]] += self._agree(chosen[i], chosen[j])
        best = int(agreed.argmax())
        return Outcome(self._probe(chosen[best])[0], self.candidates[best][0], 1, True)

    def _probe(self, node: tuple[int, Node]) -> tuple[Probe, Labels]:
        """The probe of a node, and the documents that it takes."""
        if node not in self._probes:
            rows = self.rows[self.candidates[node[0]][0]]
            probe = linear_probe(rows, self.responsibilities[node[0]][:, list(node[1])].sum(1), {})
            self._probes[node] = probe, probe.log_odds(rows) > 0
        return self._probes[node]

    def _agree(self, a: tuple[int, Node], b: tuple[int, Node]) -> float:
        if (a, b) not in self._agreement:
            self._agreement[a, b] = agreement(self._probe(a)[1], self._probe(b)[1])
        return self._agreement[a, b]
