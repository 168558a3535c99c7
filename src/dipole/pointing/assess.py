"""What pointing gave, held against the truth where there is one; the truth takes no part in anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.corpora.corpus import label_of, owner_of
from dipole.pointing.measure import Reading, ceiling, gap_recovered, probability, read_notion
from dipole.pointing.record import Differing, Mapped, Settings
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

    Passages of one file, `file#k`, stay together. Of several files at least one is on either side; the
    passages of a single file are parted, which `notes_of` says.

    Args:
        ids: Of the documents.
        share: About so many are kept.
    """
    owners = [owner_of(document) for document in ids]
    names = owners if len(set(owners)) > 1 else list(ids)
    places = {name: _place(name) for name in names}
    last = sorted(places.values())
    # at least the first of all, and never the last
    cut = min(max(share, float(np.nextafter(last[0], 1))), last[-1])
    return np.array([places[name] < cut for name in names])


def _place(name: str) -> float:
    """Where in [0, 1) a name falls; that of a file need not be UTF-8."""
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8]) / 2**64


def labels_of(
    ids: Sequence[str], truth: Mapping[str, bool] | None, flavour: Mapping[str, bool] | None
) -> tuple[NDArray[np.float64] | None, list[str]]:
    """Truth as 1, 0 or NaN where it is not known, and the cell of each document.

    Raises:
        UserError: No document has a label, or all have the same, or none has one of the further labels.
    """
    if truth is None:
        return None, []
    found = [label_of(truth, name) for name in ids]
    labels = np.array([np.nan if label is None else float(label) for label in found])
    if np.isnan(labels).all():
        raise unmatched(ids[0], truth)
    known = labels[~np.isnan(labels)]
    if known.min() == known.max():
        raise UserError(
            "The labels of the corpus are all the same, so nothing can be measured by them; give labels of "
            "both kinds."
        )
    cells = [f"truth {'yes' if label else 'no'}" for label in found]
    if flavour is not None:
        others = [label_of(flavour, name) for name in ids]
        if all(other is None for other in others):
            raise unmatched(ids[0], flavour, "further label")
        names = {None: "?", True: "yes", False: "no"}
        cells = [f"{cell}, flavour {names[other]}" for cell, other in zip(cells, others, strict=True)]
    return labels, cells


def unmatched(document: str, labels: Mapping[str, bool], kind: str = "label") -> UserError:
    """The labels are of other documents."""
    return UserError(
        f"No document of the corpus has a {kind}: its ids look like {document!r}, and those of the {kind}s "
        f"like {next(iter(labels), '')!r}."
    )


def readings_of(
    read: Read, odds: Array, labels: Array | None, cells: list[str], settings: Settings
) -> tuple[Reading, ...]:
    """Weak and refined notion and the ceiling against the truth, on the documents that are held out.

    The topic model may have read these, but without their labels; the other two were not fitted on them.
    """
    if labels is None:
        return ()
    known = ~np.isnan(labels)
    used, fit = known & read.held_out, known & ~read.held_out
    truth = labels == 1
    if not truth[used].any() or truth[used].all():  # `notes_of` says so
        return ()
    groups = [cell for cell, kept in zip(cells, used, strict=True) if kept]
    weak = np.log(read.q) - np.log1p(-np.minimum(read.q, 1 - 1e-12))
    owners = [owner_of(name) for name, kept in zip(read.ids, used, strict=True) if kept]
    notions = {"weak": weak, "refined": odds}
    if truth[fit].any() and not truth[fit].all():
        notions["ceiling"] = ceiling(read.features, fit, used, truth, settings.width)
    return tuple(
        read_notion(name, found[used], truth[used], groups, owners, settings.seed)
        for name, found in notions.items()
    )


def recovered(readings: Sequence[Reading]) -> float | None:
    """Share of the gap in F1 between weak notion and ceiling that the refined one closes."""
    by_name = {reading.name: reading.f1.mean for reading in readings}
    if "ceiling" not in by_name:
        return None
    return gap_recovered(by_name["weak"], by_name["refined"], by_name["ceiling"])


def positives_of(odds: Array, labels: Array | None) -> Labels:
    """Documents that the excess of agreement is counted against: the true ones, or the refined ones.

    All of them, not the held-out ones alone: the weak labels were not fitted to the truth.
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


def differing(read: Read, odds: Array, labels: Array | None, most: int = 5) -> list[Differing]:
    """Held-out documents that one notion takes and the other does not, those first that are clearest."""
    refined = probability(odds)
    apart = np.where(read.held_out, refined - read.q, 0.0)
    found = []
    for sign in (1, -1):
        order = np.argsort(-sign * apart, kind="stable")[:most]
        rows = [row for row in order.tolist() if (refined[row] > 0.5) != (read.q[row] > 0.5)]
        found += [
            Differing(
                read.ids[row], float(read.q[row]), float(refined[row]),
                None if labels is None or np.isnan(labels[row]) else bool(labels[row]),
            )
            for row in rows if sign * apart[row] > 0
        ]  # fmt: skip
    return found
