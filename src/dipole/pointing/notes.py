"""What a reader of a pointing report must know first, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dipole.corpora.corpus import Corpus, owner_of
from dipole.evaluation.statistics import MIN_GROUPS
from dipole.pointing.assess import Read
from dipole.pointing.measure import Written
from dipole.pointing.refine import FALLBACK, Notion, diffuse, unstable

Array = NDArray[np.float64]


def notes_of(
    read: Read, corpus: Corpus, notion: Notion, labels: Array | None, written: Sequence[Written]
) -> Iterator[str]:
    """What a reader must know first."""
    yield from _notes_on_truth(read, labels)
    yield from notes_on_reading(corpus, read.features.cut)
    files = len({owner_of(name) for name in read.ids})
    if files == 1:
        yield (
            "All documents are passages of one file, so those that are measured on stand beside those that "
            "were fitted on; the numbers are too good for other files."
        )
    elif files < MIN_GROUPS:
        yield f"The documents are passages of {files} files, and the intervals speak of no others."
    if instead := notion.facts.get("instead_of"):
        yield (
            f"The model's own cluster that overlaps most was not taken, because {instead['reason']}. "
            f"{notion.method} was used instead; it can repeat the topic's errors."
        )
    elif reason := diffuse(notion, read.features):
        yield f"What was found points at nothing: {reason}. Try --method {FALLBACK}, or more topics."
    elif reason := unstable(notion):
        yield f"What was found may be none of the model's own notions: {reason}. Read where the two differ."
    by_way = {each.name: each for each in written}
    if by_way and by_way["steered"].refined.mean <= by_way["base"].refined.mean:
        yield (
            "Steering did not bring the texts closer to the notion: by its own measure "
            f"{100 * by_way['base'].refined.mean:.0f}% before, {100 * by_way['steered'].refined.mean:.0f}% "
            "after; write behind a --prompt that such documents begin like, or steer another way (--steer)."
        )


def notes_on_reading(corpus: Corpus, cut: int) -> Iterator[str]:
    """What of a corpus was left out, and how many documents were cut."""
    if corpus.skipped:
        first = corpus.skipped[0]
        yield f"{len(corpus.skipped)} left out of the corpus, the first: {first.name} {first.reason}."
    if cut:
        documents = "1 document is" if cut == 1 else f"{cut:,} documents are"
        yield f"{documents} longer than the model's context and read in part."


def _notes_on_truth(read: Read, labels: Array | None) -> Iterator[str]:
    if labels is None:
        yield (
            "No truth was given, so this says where the two notions differ, not which of them is right; "
            "read some of the documents on which they do, below."
        )
        return
    if missing := int(np.isnan(labels).sum()):
        yield f"{missing:,} of {len(read.ids):,} documents have no label and are left out where truth counts."
    kept = labels[read.held_out]
    yes, no = int((kept == 1).sum()), int((kept == 0).sum())
    if not (yes and no):
        yield (
            f"Of the {len(kept):,} documents held out {yes} are labelled 1 and {no} are labelled 0, so "
            "nothing can be measured by the truth; label more of them, or give more files."
        )
