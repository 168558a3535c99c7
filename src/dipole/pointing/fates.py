"""What a start ended at, in the words of the basin: the notion, or which other fixed point."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
Fate = Literal[
    "notion", "share", "all", "none", "complement", "flavour", "either", "start", "part", "wider", "other"
]
FATES: tuple[Fate, ...] = get_args(Fate)
IMPOSSIBLE = "impossible"
_MEANING: dict[str, str] = {
    "notion": "the notion",
    "share": "the notion’s order, cut wrongly",
    "all": "everything",
    "none": "nothing",
    "complement": "the complement",
    "flavour": "the flavour",
    "either": "the notion or the flavour",
    "start": "the start, errors and all",
    "part": "a part of the notion",
    "wider": "the notion and others",
    "other": "something else",
    IMPOSSIBLE: "no such start",
}
_SAME = 0.85
_ORDERED = 0.98
_ALMOST = 0.03
_HOLDS = 0.9
# Documents of a cell: 0 neither, 1 flavour alone, 2 notion alone, 3 both. A fate is the set of its cells.
_CELLS: dict[tuple[int, ...], Fate] = {(0, 1): "complement", (1, 3): "flavour", (1, 2, 3): "either"}


def meaning(fate: str, flavour: str = "labels") -> str:
    """A fate in words."""
    said = _MEANING[fate]
    return said.replace("the flavour", "the topic’s own cluster") if flavour == "topic" else said


def fate_of(end: Labels, start: Labels, truth: Labels, flavour: Labels, auc: float, inside: bool) -> Fate:
    """Where a start ended.

    Everything and nothing come first, then the notion's own order of the documents (AUC of at least 0.98)
    with a wrong cut; of complement, flavour, the notion or the flavour, and the start the one with the
    largest Jaccard index, where that is at least 0.85; then a part of the notion (precision of at least 0.9)
    and the notion with others (recall of at least 0.9).

    Args:
        end: `(n,)` labels of the documents that were fitted on.
        start: `(n,)` labels that it began with.
        truth: `(n,)`.
        flavour: `(n,)` a label that could be mistaken for it.
        auc: On held-out documents.
        inside: Whether it came to the notion.
    """
    if inside:
        return "notion"
    if end.mean() >= 1 - _ALMOST:
        return "all"
    if end.sum() <= _ALMOST * truth.sum():
        return "none"
    if auc >= _ORDERED:
        return "share"
    cell = 2 * truth + flavour
    near: list[tuple[float, Fate]] = [(_jaccard(end, start), "start")]
    near += [(_jaccard(end, np.isin(cell, cells)), fate) for cells, fate in _CELLS.items()]
    best, fate = max(near, key=lambda found: found[0])
    if best >= _SAME:
        return fate
    hits = int((end & truth).sum())
    if hits >= _HOLDS * end.sum():
        return "part"
    return "wider" if hits >= _HOLDS * truth.sum() else "other"


def _jaccard(a: Labels, b: Labels) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0
