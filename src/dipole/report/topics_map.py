"""Where the page of a topic model puts its topics and documents: on and in a circle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dipole.recognizers.lda import Array

_MOST_POINTS = 2000


class Map(NamedTuple):
    """Documents and topics in the plane.

    Attributes:
        anchors: `(topics, 2)` where each topic lies, on the circle of radius 1.
        points: `(m, 2)` where each shown document lies.
        rows: Which documents are shown.
        leading: Topic with the largest share in each of them.
    """

    anchors: Array
    points: Array
    rows: tuple[int, ...]
    leading: tuple[int, ...]


def document_map(theta: Array, most: int = _MOST_POINTS, seed: int = 0) -> Map:
    """Topics on a circle, those that share documents beside each other, and each document among its topics.

    A document lies at the mean of the topics' places, weighted by its shares: near the rim where one topic
    has nearly all of it, between two neighbours where it is about both (RadViz, Hoffman et al. 1997). So that
    equal documents can be seen, each is moved a little at random. Of many, `most` are drawn at random.

    Args:
        theta: `(n, topics)`.
        most: Largest number of documents.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    n, topics = theta.shape
    rows = np.sort(rng.choice(n, most, replace=False)) if n > most else np.arange(n)
    angles = np.empty(topics)
    angles[ring(theta)] = 2 * np.pi * np.arange(topics) / topics - np.pi / 2
    anchors = np.column_stack([np.cos(angles), np.sin(angles)])
    noise = rng.normal(size=(len(rows), 2)) * 0.03
    leading = theta[rows].argmax(axis=1)
    return Map(
        anchors,
        theta[rows] @ anchors + noise,
        tuple(int(row) for row in rows),
        tuple(int(topic) for topic in leading),
    )


def ring(theta: Array) -> list[int]:
    """Topics in an order in which neighbours share documents; the last is a neighbour of the first.

    Nearest neighbour first, then two-opt: stretches are turned round while that brings like topics together.
    """
    root = np.sqrt(theta)
    size = np.linalg.norm(root, axis=0)
    far = 1 - (root.T @ root) / np.maximum(np.outer(size, size), 1e-12)
    left, order = set(range(1, theta.shape[1])), [0]
    while left:
        order.append(min(left, key=lambda k: (far[order[-1], k], k)))
        left.remove(order[-1])
    return _two_opt(order, far)


def _two_opt(order: Sequence[int], far: Array) -> list[int]:
    best, n = list(order), len(order)
    improved = n > 3
    while improved:
        improved = False
        for i in range(n - 1):
            for j in range(i + 2, n - (i == 0)):
                a, b, c, d = best[i], best[i + 1], best[j], best[(j + 1) % n]
                if far[a, c] + far[b, d] < far[a, b] + far[c, d] - 1e-9:
                    best[i + 1 : j + 1] = best[i + 1 : j + 1][::-1]
                    improved = True
    return best
