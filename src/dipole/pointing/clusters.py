"""The strong model's own clusters, and the one that overlaps most with a weak label.

Overlap is measured in probability (soft Jaccard of the weak probability and the responsibilities of a
mixture), not in volume, so it needs no metric of the feature space. Candidates are the nodes of a tree over
the mixture's components, because how many components make one notion is not known beforehand.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Node = tuple[int, ...]


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians with diagonal covariances and free weights.

    Attributes:
        weights: `(components,)`.
        means: `(components, width)`.
        variances: `(components, width)`.
    """

    weights: Array
    means: Array
    variances: Array

    def responsibilities(self, rows: Array) -> Array:
        """Probability of each component given each row, `(n, components)`."""
        # the squares written out, so that nothing of the size (n, components, width) is made
        scaled = rows**2 @ (1 / self.variances).T - 2 * rows @ (self.means / self.variances).T
        own = (self.means**2 / self.variances + np.log(self.variances)).sum(-1)
        logs = np.log(self.weights) - (scaled + own) / 2
        logs -= logs.max(1, keepdims=True)
        odds = np.exp(logs)
        found: Array = odds / odds.sum(1, keepdims=True)
        return found


class Overlap(NamedTuple):
    """The node that overlaps most with the weak label.

    Attributes:
        node: Its components.
        jaccard: Its soft Jaccard.
        runner_up: That of the best node that is neither part of it nor contains it; 0 if there is none.
    """

    node: Node
    jaccard: float
    runner_up: float


_MOST_ROWS = 4000  # more of them do not sharpen a few dozen means, and cost time


def mixture(rows: Array, components: int, seed: int, restarts: int = 3) -> Mixture:
    """Fit by expectation maximisation, the best of several k-means starts; of many rows to a random part.

    Args:
        rows: `(n, width)`.
        components: At least 2; no more than rows are used.
        seed: Of the starts.
        restarts: How many.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    if len(rows) > _MOST_ROWS:
        rows = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:_MOST_ROWS])]
    model = GaussianMixture(
        min(components, len(rows)), covariance_type="diag", n_init=restarts, random_state=seed, reg_covar=1e-3
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # its overlap is measured all the same
        model.fit(rows)
    return Mixture(model.weights_, model.means_, model.covariances_)


def tree(found: Mixture) -> list[Node]:
    """The nodes of the components' tree (Ward linkage of their means), leaves first."""
    from scipy.cluster.hierarchy import ward

    nodes: list[Node] = [(i,) for i in range(len(found.means))]
    if len(nodes) > 1:
        for a, b, _, _ in ward(found.means):
            nodes.append((*nodes[int(a)], *nodes[int(b)]))
    return nodes


def soft_jaccard(q: Array, r: Array) -> float:
    """`sum min(q, r) / sum max(q, r)`: 1 where they agree wholly; of 0 and 1 it is the Jaccard index."""
    union = float(np.maximum(q, r).sum())
    return float(np.minimum(q, r).sum()) / union if union > 0 else 0.0


def agreement(a: Labels, b: Labels) -> float:
    """Jaccard index of two sets, less what chance would give: 1 where they are the same, 0 by chance.

    `(J - E) / (1 - E)`, `E` being the index of independent sets of these sizes; without that, sets of nine
    tenths of the documents agree to 0.82 whatever they are.

    Args:
        a: `(n,)` who is in the one.
        b: `(n,)` who is in the other.
    """
    one, other = float(a.mean()), float(b.mean())
    chance = one * other / (one + other - one * other) if one + other > 0 else 1.0
    return (soft_jaccard(a.astype(float), b.astype(float)) - chance) / (1 - chance) if chance < 1 else 0.0


def best_overlap(q: Array, responsibilities: Array, nodes: list[Node]) -> Overlap:
    """The node whose members overlap most with the weak label.

    Args:
        q: `(n,)` weak probabilities.
        responsibilities: `(n, components)`.
        nodes: Candidates; the one of all components is left out, because it points at nothing.
    """
    proper = [node for node in nodes if len(node) < responsibilities.shape[1]] or nodes
    overlaps = [soft_jaccard(q, responsibilities[:, list(node)].sum(1)) for node in proper]
    best = int(np.argmax(overlaps))
    chosen = set(proper[best])
    apart = [j for node, j in zip(proper, overlaps, strict=True) if not (chosen & set(node))]
    return Overlap(proper[best], overlaps[best], max(apart, default=0.0))


def k_means(
    rows: Array, clusters: int, seed: int, restarts: int = 20, start: Array | None = None
) -> NDArray[np.int_]:
    """Hard clusters `(n,)` by k-means, the known failure at small minorities (recipe 3, pitfalls).

    Args:
        rows: `(n, width)`.
        clusters: How many; no more than rows are used.
        seed: Of the starts.
        restarts: How many; the best is kept.
        start: `(clusters, width)` means to start at, once, instead.
    """
    from sklearn.cluster import KMeans

    how = {"n_init": restarts, "random_state": seed} if start is None else {"init": start, "n_init": 1}
    # Lloyd's steps until nothing moves: sklearn's own tolerance ends them early.
    model = KMeans(min(clusters, len(rows)), tol=0.0 if start is not None else 1e-4, max_iter=1000, **how)
    labels: NDArray[np.int_] = model.fit_predict(rows)
    return labels
