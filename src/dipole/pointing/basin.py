"""From how bad a start does a method come to the notion, measured on a corpus."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dipole.controls.layers import layers_of
from dipole.corpora.corpus import Corpus, label_of
from dipole.origin import Origin, now, origin
from dipole.pointing.assess import held_out, unmatched
from dipole.pointing.grid import Documents, End, Grid, ends_of, summary
from dipole.pointing.notes import notes_on_reading
from dipole.pointing.said import end_lines
from dipole.progress import Progress, silent
from dipole.recognizers.pooled import read_features
from dipole.recognizers.topic import TopicScore
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

MOST_DOCUMENTS = 2000
_HELD_OUT = 0.3
_LAYERS = 4


@dataclass(frozen=True)
class Basin:
    """What was measured.

    Attributes:
        grid: Which starts, and how.
        ends: Every start and where it ended.
        documents: How many were used.
        positive: How many of them are of the notion.
        flavour: What adversarial errors fell on: `labels`, or `topic`.
        notes: Plain sentences that a reader must see first.
        origin: What makes it again.
    """

    grid: Grid
    ends: tuple[End, ...]
    documents: int
    positive: int
    flavour: str
    notes: tuple[str, ...]
    origin: Origin

    def __str__(self) -> str:
        """Where the starts ended."""
        return "\n".join(end_lines(self.ends))

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "grid": {**asdict(self.grid), "values": self.grid.values},
            "documents": self.documents,
            "positive": self.positive,
            "flavour": self.flavour,
            "notes": self.notes,
            "summary": summary(self.ends),
            "ends": [asdict(end) for end in self.ends],
        }


class _Chosen(NamedTuple):
    """A document that is used, with its labels."""

    place: int
    id: str
    text: str
    truth: bool
    flavour: bool


class _Read(NamedTuple):
    chosen: list[_Chosen]
    documents: int
    unlabelled: int
    labelled: int


def basin(
    lm: LM,
    pointer: TopicScore,
    corpus: Corpus,
    truth: Mapping[str, bool],
    grid: Grid = Grid(),
    *,
    flavour: Mapping[str, bool] | None = None,
    layers: str = "auto",
    most_documents: int = MOST_DOCUMENTS,
    progress: Progress = silent,
) -> Basin:
    """Measure where every start of a grid ends.

    The corpus is read once; of more labelled documents than are wanted
    those are used whose ids have the smallest hashes, the same ones in every run.

    Args:
        lm: The strong model; it stays as it was.
        pointer: The weak notion: adversarial errors are its own, and it is marked on the map.
        corpus: Documents.
        truth: Label of each document by id.
        grid: Which starts, and how.
        flavour: Another label of each document, which adversarial errors fall on instead.
        layers: Layers to read, counted from 0 with commas, or auto.
        most_documents: How many documents are used at most.
        progress: Told what is being done.

    Raises:
        UserError: Bad input.
    """
    started = now()
    if most_documents < 1:
        raise UserError(f"The number of documents must be at least 1, and is {most_documents}.")
    at = layers_of(layers, lm, _LAYERS)
    progress("reading the corpus")
    read = _read(corpus, truth, flavour, most_documents)
    progress(f"reading {len(read.chosen):,} documents with {lm.resident.name}")
    documents, cut = _documents(lm, pointer, read, at, flavour is None)
    progress(f"running {', '.join(grid.methods)} from every start")
    ends = ends_of(documents, grid, progress)
    return Basin(
        grid, tuple(ends), len(read.chosen), int(documents.truth.sum()),
        "topic" if flavour is None else "labels",
        tuple(_notes(corpus, read, documents, ends, flavour is not None, cut)),
        origin("basin", started, lm.resident, corpus=str(corpus.path), topic=pointer.concept.to_dict(),
               grid=asdict(grid), layers=list(at)),
    )  # fmt: skip


def _read(corpus: Corpus, truth: Mapping[str, bool], flavour: Mapping[str, bool] | None, most: int) -> _Read:
    """The documents that have labels, or as many of them as are wanted."""
    heap: list[tuple[int, _Chosen]] = []
    seen = unlabelled = labelled = 0
    first = ""
    for place, document in enumerate(corpus):
        seen, first = seen + 1, first or document.id
        label = label_of(truth, document.id)
        other = False if flavour is None else label_of(flavour, document.id)
        labelled += label is not None
        if label is None or other is None:
            unlabelled += 1
            continue
        order = -int.from_bytes(hashlib.sha256(document.id.encode("utf-8", "replace")).digest()[:8])
        item = (order, _Chosen(place, document.id, document.text, label, other))
        (heapq.heappush if len(heap) < most else heapq.heappushpop)(heap, item)
    chosen = sorted(item for _, item in heap)
    if not chosen:
        if flavour is not None and labelled:
            raise unmatched(first, flavour, "further label")
        raise unmatched(first, truth)
    if len({item.truth for item in chosen}) < 2:
        raise UserError(
            f"All {len(chosen)} documents that have a label are labelled {int(chosen[0].truth)}, so there is "
            "no notion to come to; give labels of both kinds."
        )
    return _Read(chosen, seen, unlabelled, seen - unlabelled)


def _documents(
    lm: LM, pointer: TopicScore, read: _Read, layers: Sequence[int], by_topic: bool
) -> tuple[Documents, int]:
    texts = [item.text for item in read.chosen]
    q = pointer.model.posterior(texts)[:, pointer.index]
    features = read_features(lm, texts, layers)
    kept = held_out([item.id for item in read.chosen], _HELD_OUT)
    truth = np.array([item.truth for item in read.chosen])
    flavour = q > 0.5 if by_topic else np.array([item.flavour for item in read.chosen])
    return Documents(features, q, truth, flavour, kept, by_topic), features.cut


def _notes(
    corpus: Corpus, read: _Read, documents: Documents, ends: Sequence[End], flavoured: bool, cut: int
) -> list[str]:
    found = []
    if read.unlabelled:
        kinds = " of both kinds" if flavoured else ""
        found.append(
            f"{read.unlabelled:,} of {read.documents:,} documents have no label{kinds} and were left out."
        )
    if len(read.chosen) < read.labelled:
        found.append(f"{len(read.chosen):,} of {read.labelled:,} labelled documents were used.")
    found += notes_on_reading(corpus, cut)
    impossible = sum(end.method == ends[0].method and end.layer < 0 for end in ends)
    if impossible:
        found.append(
            f"{impossible} starts of each method could not be made: there are too few negatives for so low a "
            "precision."
        )
    ceiling = max((end.ceiling for end in ends if end.layer >= 0), default=0.0)
    if ceiling < 0.8:
        found.append(
            f"A probe trained on the truth itself reaches F1 {ceiling:.2f} on held-out documents, so being "
            "inside means little here."
        )
    if not (documents.q > 0.5).any() or (documents.q > 0.5).all():
        found.append("The topic calls all of the documents the same, so it has no place on the map.")
    return found
