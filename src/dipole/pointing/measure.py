"""How good a notion is against the truth, and whether what it writes is held to the weak one's outline."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.interventions._logistic import logistic
from dipole.pointing.space import Space
from dipole.recognizers.lda import require_sklearn
from dipole.recognizers.pooled import Features
from dipole.types import Interval

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
_RESAMPLES = 1000


@dataclass(frozen=True)
class Reading:
    """A notion against the truth, on documents that nothing was fitted on.

    Attributes:
        name: `weak`, `refined` or `ceiling` (a probe trained on the truth).
        precision: Share of the documents called positive that are.
        recall: Share of the positive documents called so.
        f1: Their harmonic mean, with a bootstrap interval over documents.
        auc: Area under the ROC curve.
        cells: For each group of documents the share called positive, and how many documents it has.
    """

    name: str
    precision: float
    recall: float
    f1: Interval
    auc: float
    cells: Mapping[str, tuple[float, int]]


def read_notion(name: str, log_odds: Array, truth: Labels, cells: Sequence[str], seed: int = 0) -> Reading:
    """Measure one notion.

    Args:
        name: Of the notion.
        log_odds: `(n,)`; positive is a yes.
        truth: `(n,)`.
        cells: Group of each document; all in one where empty.
        seed: Of the bootstrap.
    """
    require_sklearn()
    from sklearn.metrics import roc_auc_score

    said = log_odds > 0
    precision, recall, f1 = scores(said, truth)
    both = bool(truth.any()) and not bool(truth.all())
    auc = float(roc_auc_score(truth, log_odds)) if both else float("nan")
    groups = np.array(cells) if len(cells) else np.full(len(truth), "all")
    shares = {
        str(cell): (float(said[groups == cell].mean()), int((groups == cell).sum()))
        for cell in sorted(set(groups.tolist()))
    }
    low, high = _bootstrap(said, truth, seed)
    return Reading(name, precision, recall, Interval(f1, low, high), auc, shares)


def scores(said: Labels, truth: Labels) -> tuple[float, float, float]:
    """Precision, recall and F1; a ratio of nothing is 0."""
    hits = float((said & truth).sum())
    precision = hits / max(float(said.sum()), 1.0)
    recall = hits / max(float(truth.sum()), 1.0)
    return precision, recall, 2 * hits / max(float(said.sum() + truth.sum()), 1.0)


def _bootstrap(said: Labels, truth: Labels, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    rows = rng.integers(len(truth), size=(_RESAMPLES, len(truth)))
    found = [scores(said[r], truth[r])[2] for r in rows]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)


def ceiling(features: Features, fit: Labels, truth: Labels, layer: int, width: int) -> Array:
    """Log-odds `(n,)` of a probe trained on the truth of the documents to fit on, in the same space."""
    rows = features.at(layer)
    space = Space.fit(rows[torch.from_numpy(fit)], width)
    coordinates = torch.from_numpy(space.project(rows))
    known = torch.from_numpy(truth[fit].astype(float))
    weight, bias = logistic(coordinates[torch.from_numpy(fit)], known, standardise=True)
    odds: Array = (coordinates @ weight + bias).numpy()
    return odds


def gap_recovered(weak: float, refined: float, best: float) -> float | None:
    """`(refined - weak) / (best - weak)` (Burns 2023); None where the gap is below 0.02."""
    gap = best - weak
    return None if gap < 0.02 else (refined - weak) / gap


@dataclass(frozen=True)
class Written:
    """What one way of writing gave.

    Attributes:
        name: `base`, `steered`, `reversed` or `filtered` (best of several by the weak notion).
        texts: Prompt and completion.
        weak: Share that the weak notion takes for its own.
        refined: Share that the refined notion takes for its own.
        judged: Share that the judge accepts; None without a judge.
        excess: Weak-agreement excess: `weak` less the share of the true documents that the weak notion takes
            for its own. About 0 for what is true to the notion, far above 0 for what is held to the weak
            outline.
        perplexity_ratio: Perplexity under the base over that of the base's own texts.
        distinct_2: Different pairs of words, over the base's at equal numbers of pairs.
    """

    name: str
    texts: tuple[str, ...]
    weak: float
    refined: float
    judged: float | None
    excess: float
    perplexity_ratio: float
    distinct_2: float


def probability(log_odds: Array) -> Array:
    """Sigmoid, without overflow."""
    found: Array = torch.from_numpy(log_odds).sigmoid().numpy()
    return found


def share(values: Sequence[float]) -> float:
    """Share of the log-odds above 0 among those that are numbers."""
    known = np.array([v for v in values if v == v])
    return float((known > 0).mean()) if len(known) else float("nan")


def judged_share(texts: Sequence[str], judge: Callable[[str], bool] | None) -> float | None:
    """Share of the texts that the judge accepts."""
    return None if judge is None else float(np.mean([judge(text) for text in texts]))


def plain(reading: Reading) -> dict[str, Any]:
    """A reading as plain data."""
    return {
        "name": reading.name,
        "precision": reading.precision,
        "recall": reading.recall,
        "f1": reading.f1,
        "auc": reading.auc,
        "cells": {cell: {"share": s, "documents": n} for cell, (s, n) in reading.cells.items()},
    }
