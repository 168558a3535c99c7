"""How good a notion is against the truth, and whether what it writes is held to the weak one's outline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.effects import Interval
from dipole.evaluation.statistics import interval, resampling, share_difference, wilson
from dipole.pointing.space import Space
from dipole.probing.logistic import logistic
from dipole.recognizers.pooled import Features

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
_LOTS = 2000  # more files than that are resampled in so many lots, to bound the memory


@dataclass(frozen=True)
class Reading:
    """A notion against the truth, on documents that no probe was fitted on.

    Attributes:
        name: `weak`, `refined` or `ceiling` (a probe trained on the truth).
        precision: Share of the documents called positive that are.
        recall: Share of the positive documents called so.
        f1: Their harmonic mean, with a bootstrap interval over files (a document that is no passage is one),
            or over documents where they are of fewer than 5 files.
        auc: Area under the ROC curve.
        cells: For each group of documents the share called positive, and how many documents it has.
    """

    name: str
    precision: float
    recall: float
    f1: Interval
    auc: float
    cells: Mapping[str, tuple[float, int]]


def read_notion(
    name: str,
    log_odds: Array,
    truth: Labels,
    cells: Sequence[str],
    owners: Sequence[str] = (),
    seed: int = 0,
) -> Reading:
    """Measure one notion.

    Args:
        name: Of the notion.
        log_odds: `(n,)`; positive is a yes.
        truth: `(n,)`.
        cells: Group of each document; all in one where empty.
        owners: File of each document; each its own where empty.
        seed: Of the bootstrap.
    """
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
    columns = np.stack([said & truth, said, truth], axis=1).astype(np.float64)
    plan = resampling(_lots(owners or [str(i) for i in range(len(truth))], seed), seed)
    bounds = interval(columns, _f1, plan)
    if f1 == 1:  # no resample can differ; what Wilson says of as many hits
        bounds = wilson(files := len(set(plan.groups[truth].tolist())), files)
    return Reading(name, precision, recall, Interval(f1, bounds.low, bounds.high), auc, shares)


def scores(said: Labels, truth: Labels) -> tuple[float, float, float]:
    """Precision, recall and F1; a ratio of nothing is 0."""
    hits = float((said & truth).sum())
    precision = hits / max(float(said.sum()), 1.0)
    recall = hits / max(float(truth.sum()), 1.0)
    return precision, recall, 2 * hits / max(float(said.sum() + truth.sum()), 1.0)


def _f1(sums: Array) -> Array:
    """F1 `(...,)` from sums `(..., 3)` of hits, of what was called positive and of what is."""
    found: Array = 2 * sums[..., 0] / np.maximum(sums[..., 1] + sums[..., 2], 1)
    return found


def _lots(owners: Sequence[str], seed: int) -> list[int]:
    """A number for each document: that of its file, or of a lot of files where there are many."""
    names, index = np.unique(np.array(owners), return_inverse=True)
    lots: list[int] = (np.random.default_rng(seed).permutation(len(names)) % _LOTS)[index].tolist()
    return lots


def ceiling(features: Features, fit: Labels, measured: Labels, truth: Labels, width: int) -> Array:
    """Log-odds `(n,)` of a probe trained on the truth of the documents to fit on, in the same space.

    Of all layers the one with the highest F1 on the measured documents is taken, in favour of the ceiling.
    """
    known = torch.from_numpy(truth[fit].astype(float))
    found: list[Array] = []
    for layer in features.layers:
        rows = features.at(layer)
        coordinates = torch.from_numpy(Space.fit(rows[torch.from_numpy(fit)], width).project(rows))
        probe = logistic(coordinates[torch.from_numpy(fit)], known, standardise=True)
        found.append(probe.log_odds(coordinates).numpy())
    return max(found, key=lambda odds: scores(odds[measured] > 0, truth[measured])[2])


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
        weak: Share that the weak notion takes for its own; a text that it can't score counts as a no, as a
            document does.
        refined: Share that the refined notion takes for its own.
        judged: Share that the judge accepts; None without a judge. Shares have Wilson's interval.
        excess: `weak` less the share of the true documents that the weak notion takes
            for its own, with Newcombe's interval. About 0 for what is true to the notion, far above 0 for
            what is held to the weak outline.
        perplexity_ratio: Perplexity under the base over that of the base's own texts.
        distinct_2: Different pairs of words, over the base's at equal numbers of pairs.
    """

    name: str
    texts: tuple[str, ...]
    weak: Interval
    refined: Interval
    judged: Interval | None
    excess: Interval
    perplexity_ratio: float
    distinct_2: float


def probability(log_odds: Array) -> Array:
    """Sigmoid, without overflow."""
    found: Array = torch.from_numpy(log_odds).sigmoid().numpy()
    return found


def share(said: Sequence[bool]) -> Interval:
    """Share of yes, with Wilson's interval; NaN of nothing."""
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    return wilson(sum(said), len(said)) if len(said) else nothing


def excess(weak: Interval, among_true: Interval) -> Interval:
    """Weak-agreement excess: `P(weak says yes | written) - P(weak says yes | true documents)`."""
    return share_difference(weak, among_true)


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
