"""Point at a notion with a weak topic, and keep the strong model's own version of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.controls.layers import layers_of
from dipole.corpora.corpus import Corpus
from dipole.origin import now, origin
from dipole.pointing.assess import (
    Read,
    agreement_of,
    differing,
    held_out,
    labels_of,
    map_of,
    positives_of,
    readings_of,
    recovered,
)
from dipole.pointing.measure import probability, share
from dipole.pointing.methods import Weak
from dipole.pointing.notes import notes_of
from dipole.pointing.record import Differing, Pointed, Settings
from dipole.pointing.refine import COMPONENTS, check_weak, refine
from dipole.pointing.steering import rehearse, steering
from dipole.pointing.writing import write_and_measure
from dipole.progress import Progress, silent
from dipole.recognizers.notion import NotionScore
from dipole.recognizers.pooled import Features, read_features
from dipole.recognizers.topic import TopicScore

if TYPE_CHECKING:
    from dipole.protocols import LM

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
_TOP_WORDS = 30
_EXCERPT = 400


def point(
    lm: LM,
    pointer: TopicScore,
    corpus: Corpus,
    settings: Settings = Settings(),
    *,
    prompts: Sequence[str] = (),
    truth: Mapping[str, bool] | None = None,
    flavour: Mapping[str, bool] | None = None,
    judge: Callable[[str], bool] | None = None,
    progress: Progress = silent,
) -> Pointed:
    """From a topic to the strong model's own notion, as a recognizer and an intervention.

    Nothing is fitted or chosen by `truth`, `flavour` or `judge`: they measure, where they are given.

    Args:
        lm: The strong model; it stays as it was.
        pointer: The weak notion.
        corpus: Documents to point among; they are read several times.
        settings: How.
        prompts: Neutral prompts that texts are written behind; an empty one by default.
        truth: Label of each document by id.
        flavour: Another label of each document, by which the report splits its numbers.
        judge: Whether a text is of the notion.
        progress: Told what is being done.

    Raises:
        UserError: Bad input.
    """
    started, asked = now(), tuple(prompts) or ("",)
    layers = layers_of(settings.layers, lm, settings.max_layers)
    rehearse(lm, settings.steer, layers[0], asked, settings.max_new_tokens if settings.n else 0)
    progress("reading the corpus with the topic model")
    ids, counts = _counted(pointer, corpus)
    labels, cells = labels_of(ids, truth, flavour)
    weak = _pointed_at(pointer, counts)
    progress(f"reading {len(ids):,} documents with {lm.resident.name}")
    read = Read(ids, *weak, read_features(lm, _texts(corpus), layers), held_out(ids, settings.held_out))
    progress("finding the notion")
    fit = ~read.held_out
    notion = refine(_part(read.features, fit), Weak(read.q[fit], read.words[fit]), settings.method,
                    COMPONENTS, settings.width, settings.seed)  # fmt: skip
    odds = notion.log_odds(read.features)
    recognizer = NotionScore(lm, notion.layer, notion.weight, notion.bias, pointer.concept.to_dict())
    progress("learning to steer")
    intervention = steering(
        lm, settings.steer, corpus, fit, probability(odds), read.features, recognizer, asked,
        settings.max_new_tokens, settings.seed,
    )  # fmt: skip
    readings = readings_of(read, odds, labels, cells, settings)
    among_true = share((read.q[positives_of(odds, labels)] > 0.5).tolist())
    written = write_and_measure(
        lm, intervention, pointer, recognizer, asked, settings.n, settings.max_new_tokens, settings.seed,
        among_true=among_true, judge=judge, progress=progress,
    )  # fmt: skip
    return Pointed(
        recognizer, intervention, notion.facts, readings, recovered(readings), among_true, written,
        map_of(read, notion, odds, labels, settings), _with_texts(differing(read, odds, labels), corpus),
        agreement_of(read, odds), len(corpus.skipped),
        tuple(notes_of(read, corpus, notion, labels, written)),
        origin("point", started, lm.resident, corpus=str(corpus.path), topic=pointer.concept.to_dict(),
               settings=asdict(settings), prompts=list(asked)),
    )  # fmt: skip


def _texts(corpus: Corpus, ids: list[str] | None = None) -> Iterator[str]:
    """The texts; the documents' ids go into `ids`."""
    for document in corpus:
        if ids is not None:
            ids.append(document.id)
        yield document.text


def _counted(pointer: TopicScore, corpus: Corpus) -> tuple[list[str], Any]:
    """Ids of the documents, and the counts of the topic model's words in them."""
    ids = list[str]()
    counts = pointer.model.count(_texts(corpus, ids))
    return ids, counts


def _pointed_at(pointer: TopicScore, counts: Any) -> tuple[Array, Array]:
    """The documents' share of the topic `(n,)`, and counts of its top words `(n, words)`.

    Raises:
        UserError: The topic tells none of the documents from the others.
    """
    model = pointer.model
    top = [model.vocabulary.index(word) for word, _ in model.top_words(pointer.index, _TOP_WORDS)]
    words = np.asarray(counts[:, top].todense(), dtype=np.float64)
    shares = model.shares_of(counts)[:, pointer.index]
    check_weak(shares)
    return shares, words


def _with_texts(found: Sequence[Differing], corpus: Corpus) -> tuple[Differing, ...]:
    if not found:
        return ()
    wanted = {each.id for each in found}
    texts = {
        document.id: shorten(document.text[: 2 * _EXCERPT], _EXCERPT, placeholder=" …")
        for document in corpus
        if document.id in wanted
    }
    return tuple(each._replace(text=texts[each.id]) for each in found)


def _part(features: Features, rows: Labels) -> Features:
    return replace(features, values=features.values[torch.from_numpy(rows)])
