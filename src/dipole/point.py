"""Point at a notion with a weak topic, and keep the strong model's own version of it."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.controls._layers import layers_of
from dipole.corpus import Corpus
from dipole.files import MANIFEST, staged, write_json_atomic, write_text_atomic
from dipole.pointing.assess import (
    Read,
    agreement_of,
    labels_of,
    map_of,
    notes_of,
    positives_of,
    readings_of,
    recovered,
)
from dipole.pointing.methods import Weak
from dipole.pointing.record import Pointed, Settings
from dipole.pointing.refine import COMPONENTS, check_weak, refine
from dipole.pointing.steering import steering
from dipole.pointing.writing import write_and_measure
from dipole.recognizers.notion import NotionScore
from dipole.recognizers.pooled import Features, read_features
from dipole.recognizers.topic import TopicScore

if TYPE_CHECKING:
    from dipole.lm import LM

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
OnStep = Callable[[str], None]
PAGE, RECORD = "report.html", "pointed.json"
_TOP_WORDS = 30


def point(
    lm: LM,
    pointer: TopicScore,
    corpus: Corpus,
    out: Path | str,
    settings: Settings = Settings(),
    *,
    prompts: Sequence[str] = (),
    truth: Mapping[str, bool] | None = None,
    flavour: Mapping[str, bool] | None = None,
    judge: Callable[[str], bool] | None = None,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    on_step: OnStep = lambda _: None,
) -> Pointed:
    """From a topic to a folder that is a recognizer and an intervention, with a report.

    Nothing is fitted or chosen by `truth`, `flavour` or `judge`: they measure, where they are given.

    Args:
        lm: The strong model; it stays as it was.
        pointer: The weak notion.
        corpus: Documents to point among; they are read several times.
        out: Folder for the outcome.
        settings: How.
        prompts: Neutral prompts that texts are written behind; an empty one by default.
        truth: Label of each document by id.
        flavour: Another label of each document, by which the report splits its numbers.
        judge: Whether a text is of the notion.
        overwrite: Replace what dipole made there before.
        command: Command line for the manifest; that of this process by default.
        on_step: Told what is being done, in a few words.

    Raises:
        UserError: Bad input, or a folder that can't be used.
    """
    folder, started = Path(out), datetime.now(UTC)
    asked = tuple(prompts) or ("",)
    with staged(folder, overwrite) as made:
        on_step("reading the corpus with the topic model")
        ids, q = _pointed_at(pointer, corpus)
        labels, cells, missing = labels_of(ids, truth, flavour)
        check_weak(q)
        read = _read(lm, pointer, corpus, ids, q, settings, on_step)
        on_step("finding the notion")
        fit = ~read.held_out
        notion = refine(_part(read.features, fit), Weak(read.q[fit], read.words[fit]), settings.method,
                        COMPONENTS, settings.width, settings.seed)  # fmt: skip
        odds = notion.log_odds(read.features)
        recognizer = NotionScore(lm, notion.layer, notion.weight, notion.bias, pointer.concept.to_dict())
        on_step("learning to steer")
        member = 1 / (1 + np.exp(-np.clip(odds, -30, 30)))
        intervention = steering(
            lm, settings.steer, corpus, fit, member, read.features, recognizer, asked,
            settings.max_new_tokens, settings.seed,
        )  # fmt: skip
        readings = readings_of(read, notion, odds, labels, cells, settings)
        positives = positives_of(odds, labels)
        written = write_and_measure(
            lm, intervention, pointer, recognizer, asked, settings.n, settings.max_new_tokens, settings.seed,
            weak_recall=float((read.q[positives] > 0.5).mean()) if positives.any() else float("nan"),
            judge=judge, on_step=on_step,
        )  # fmt: skip
        pointed = Pointed(
            recognizer, intervention, notion.facts, readings, recovered(readings), written,
            map_of(read, notion, odds, labels, settings), agreement_of(read, odds), len(corpus.skipped),
            tuple(notes_of(read, corpus, notion, missing, truth is not None)),
        )  # fmt: skip
        _save(made, pointed, _facts(lm, pointer, corpus, settings, asked, out, started, command))
    return pointed


def held_out(document: str, share: float) -> bool:
    """Whether a document is kept for measuring: by its id (a passage by its file's), always the same."""
    owner = document.rpartition("#")[0] or document
    return int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8]) < share * 2**64


def _texts(corpus: Corpus, ids: list[str] | None = None) -> Iterator[str]:
    """The texts; the documents' ids go into `ids`."""
    for document in corpus:
        if ids is not None:
            ids.append(document.id)
        yield document.text


def _pointed_at(pointer: TopicScore, corpus: Corpus) -> tuple[list[str], Array]:
    """Ids of the documents, and what the topic model makes of them, `(n,)`."""
    ids: list[str] = []
    theta = pointer.model.posterior(_texts(corpus, ids))
    return ids, theta[:, pointer.index]


def _read(
    lm: LM,
    pointer: TopicScore,
    corpus: Corpus,
    ids: list[str],
    q: Array,
    settings: Settings,
    on_step: OnStep,
) -> Read:
    top = [word for word, _ in pointer.model.top_words(pointer.index, _TOP_WORDS)]
    columns = [pointer.model.vocabulary.index(word) for word in top]
    words = np.asarray(pointer.model.count(_texts(corpus))[:, columns].todense(), dtype=np.float64)
    layers = layers_of(settings.layers, lm, settings.max_layers)
    on_step(f"reading {len(ids):,} documents with {lm.resident.name}")
    features = read_features(lm, _texts(corpus), layers)
    kept = np.array([held_out(name, settings.held_out) for name in ids])
    if kept.all() or not kept.any():  # a handful of files
        kept = np.arange(len(ids)) % max(2, round(1 / settings.held_out)) == 0
    return Read(ids, q, words, features, kept)


def _part(features: Features, rows: Labels) -> Features:
    return replace(features, values=features.values[torch.from_numpy(rows)])


def _facts(
    lm: LM,
    pointer: TopicScore,
    corpus: Corpus,
    settings: Settings,
    prompts: Sequence[str],
    out: Path | str,
    started: datetime,
    command: Sequence[str] | None,
) -> dict[str, Any]:
    from dipole.report.manifest import command_line, versions

    return {
        "made_by": "dipole",
        "format": 1,
        "verb": "point",
        "command": command_line(sys.argv if command is None else command),
        "out": str(out),
        "corpus": str(corpus.path),
        "topic": pointer.concept.to_dict(),
        "settings": asdict(settings),
        "prompts": list(prompts),
        "model": lm.resident.name,
        "revision": lm.resident.revision,
        "fingerprint": lm.resident.fingerprint,
        "seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
        "versions": versions(),
    }


def _save(made: Path, pointed: Pointed, facts: dict[str, Any]) -> None:
    from dipole.report.pointed import render_pointed_html

    pointed.intervention.save(made)
    pointed.recognizer.save(made)
    write_json_atomic(made / RECORD, pointed.to_dict())
    write_text_atomic(made / PAGE, render_pointed_html(pointed, facts))
    files = sorted({*(path.name for path in made.iterdir()), MANIFEST})
    write_json_atomic(made / MANIFEST, {**facts, "files": files})
