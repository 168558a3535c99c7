"""Latent Dirichlet allocation by hand: one document, one word at a time, as in Blei et al. (2003)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import psi


def posterior(
    counts: Sequence[int], components: Sequence[Sequence[float]], prior: float, tolerance: float = 1e-3
) -> list[float]:
    """Topic shares of a document, by coordinate ascent until its pseudo-counts hardly change."""
    topics, words = len(components), len(counts)
    gamma = [1.0] * topics
    log_beta = [[psi(row[w]) - psi(sum(row)) for w in range(words)] for row in components]
    for _ in range(100):
        log_theta = [psi(g) - psi(sum(gamma)) for g in gamma]
        new = [prior] * topics
        for w, count in enumerate(counts):
            if count:
                weights = [math.exp(log_theta[k] + log_beta[k][w]) for k in range(topics)]
                for k in range(topics):
                    new[k] += count * weights[k] / sum(weights)
        change = sum(abs(a - b) for a, b in zip(new, gamma, strict=True)) / topics
        gamma = new
        if change < tolerance:
            break
    return [g / sum(gamma) for g in gamma]


def npmi(documents: Sequence[set[str]], words: Sequence[str]) -> float:
    """Mean normalised pointwise mutual information of the pairs of words, within documents (Bouma 2009)."""
    n = len(documents)

    def share(*wanted: str) -> float:
        return sum(all(word in document for word in wanted) for document in documents) / n

    values = []
    for i, first in enumerate(words):
        for second in words[i + 1 :]:
            both = share(first, second)
            if both == 0:
                values.append(-1.0)
            elif both == 1:
                values.append(1.0)
            else:
                values.append(math.log(both / (share(first) * share(second))) / -math.log(both))
    return sum(values) / len(values)
