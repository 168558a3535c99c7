"""What pointing gave, held against the truth where there is one; the truth takes no part in anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.corpus import Corpus, label_of
from dipole.pointing.measure import Reading, ceiling, gap_recovered, probability, read_notion
from dipole.pointing.record import Mapped, Settings
from dipole.pointing.refine import Notion
from dipole.pointing.space import Space
from dipole.recognizers.pooled import Features
from dipole.types import UserError

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
_LISTED = 400  # documents on the map


class Read(NamedTuple):
    """The corpus as both models see it.

    Attributes:
        ids: Of the documents.
        q: `(n,)` weak probability.
        words: `(n, words)` counts of the topic's top words.
        features: Of the strong model.
        held_out: `(n,)` whether a document is kept for measuring.
    """

    ids: list[str]
    q: Array
    words: Array
    features: Features
    held_out: Labels


def held_out(ids: Sequence[str], share: float) -> Labels:
    """Which documents are kept for measuring, `(n,)`: by their ids, so the same ones in every run.

    Passages of one file, `file#k`, stay together, unless that would leave nothing on one side.

    Args:
        ids: Of the documents.
        share: About so many are kept.
    """

    def place(document: str) -> float:
        owner = document.rpartition("#")[0] or document
        # a name of a file need not be UTF-8
        digest = hashlib.sha256(owner.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8]) / 2**64

    kept = np.array([place(document) < share for document in ids])
    if kept.all() or not kept.any():  # a handful of files
        kept = np.arange(len(ids)) % max(2, round(1 / share)) == 0
    return kept


def labels_of(
    ids: Sequence[str], truth: Mapping[str, bool] | None, flavour: Mapping[str, bool] | None
) -> tuple[NDArray[np.float64] | None, list[str], int]:
    """Truth as 1, 0 or NaN where it is not known; the cell of each document; how many are not known."""
    if truth is None:
        return None, [], 0
    found = [label_of(truth, name) for name in ids]
    labels = np.array([np.nan if label is None else float(label) for label in found])
    if np.isnan(labels).all():
        raise UserError(
            f"No document of the corpus has a label: its ids look like {ids[0]!r}, and those of the labels "
            f"like {next(iter(truth))!r}."
        )
    known = labels[~np.isnan(labels)]
    if known.min() == known.max():
        raise UserError(
            "The labels of the corpus are all the same, so nothing can be measured by them; give labels of "
            "both kinds."
        )
    cells = []
    for name, label in zip(ids, found, strict=True):
        other = None if flavour is None else label_of(flavour, name)
        second = "" if flavour is None else f", flavour {'?' if other is None else 'yes' if other else 'no'}"
        cells.append(f"truth {'yes' if label else 'no'}{second}")
    return labels, cells, int(np.isnan(labels).sum())


def readings_of(
    read: Read, notion: Notion, odds: Array, labels: Array | None, cells: list[str], settings: Settings
) -> tuple[Reading, ...]:
    """Weak and refined notion and the ceiling against the truth, on documents that nothing was fitted on."""
    if labels is None:
        return ()
    known = ~np.isnan(labels)
    used, fit = known & read.held_out, known & ~read.held_out
    truth = labels == 1
    groups = [cell for cell, kept in zip(cells, used, strict=True) if kept]
    weak = np.log(read.q) - np.log1p(-np.minimum(read.q, 1 - 1e-12))
    found = [read_notion("weak", weak[used], truth[used], groups, settings.seed)]
    found.append(read_notion("refined", odds[used], truth[used], groups, settings.seed))
    if truth[fit].any() and not truth[fit].all():
        best = ceiling(read.features, fit, truth, notion.layer, settings.width)
        found.append(read_notion("ceiling", best[used], truth[used], groups, settings.seed))
    return tuple(found)


def recovered(readings: Sequence[Reading]) -> float | None:
    """Share of the gap in F1 between weak notion and ceiling that the refined one closes."""
    by_name = {reading.name: reading.f1.mean for reading in readings}
    if "ceiling" not in by_name:
        return None
    return gap_recovered(by_name["weak"], by_name["refined"], by_name["ceiling"])


def positives_of(odds: Array, labels: Array | None) -> Labels:
    """Documents that the excess of agreement is counted against: the true ones, or the refined ones.

    All of them, not the held-out ones alone: the weak labels were fitted to none.
    """
    return (odds > 0) if labels is None else (labels == 1)


def agreement_of(read: Read, odds: Array) -> float:
    """Share of the held-out documents on which the two notions agree."""
    return float(((read.q > 0.5) == (odds > 0))[read.held_out].mean())


def map_of(
    read: Read, notion: Notion, odds: Array, labels: Array | None, settings: Settings
) -> tuple[Mapped, ...]:
    """Some held-out documents in the plane of the layer's two leading principal components."""
    rows = np.flatnonzero(read.held_out)
    rows = np.sort(np.random.default_rng(settings.seed).permutation(rows)[:_LISTED])
    values = read.features.at(notion.layer)
    places = Space.fit(values[~torch.from_numpy(read.held_out)], 2).project(values[torch.from_numpy(rows)])
    refined = probability(odds)
    return tuple(
        Mapped(
            read.ids[row], float(place[0]), float(place[-1]), float(read.q[row]), float(refined[row]),
            None if labels is None or np.isnan(labels[row]) else bool(labels[row]),
        )
        for row, place in zip(rows.tolist(), places, strict=True)
    )  # fmt: skip


def notes_of(read: Read, corpus: Corpus, notion: Notion, missing: int, has_truth: bool) -> Iterator[str]:
    """What a reader must know first."""
    if not has_truth:
        yield (
            "No truth was given, so this says where the two notions differ, not which of them is right; "
            "read some of the documents on which they do."
        )
    if missing:
        yield f"{missing} of {len(read.ids)} documents have no label; they are left out where truth counts."
    if corpus.skipped:
        first = corpus.skipped[0]
        yield f"{len(corpus.skipped)} left out of the corpus, the first: {first.name} {first.reason}."
    if read.features.cut:
        yield f"{read.features.cut} documents are longer than the model's context and were read in part."
    everything = float((notion.log_odds(read.features) > 0).mean())
    if everything > 0.8:
        yield (
            f"What was found holds {100 * everything:.0f}% of the documents: the topic is too diffuse to "
            "choose among the model's clusters; try --method fixed-point, or more topics."
        )
    if notion.facts["stability"] < 0.6:
        yield (
            f"The notion depends on how it is looked at (agreement {notion.facts['stability']:.2f} over "
            "layers and numbers of clusters), so it may be none of the model's own."
        )
