"""Finding the topics that were asked for on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._groups import output_folder
from dipole.cli._progress import Progress, progress
from dipole.shown.terminal import one_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.recognizers.lda import OnIteration
    from dipole.recognizers.topics import Topics


def perform(flags: Mapping[str, Any]) -> None:
    """Fit, save and print the topics."""
    words = re.sub("[,，、،]", " ", flags["find"] or "").split()
    if flags["find"] is not None and not words:
        raise UserError('--find has no word; give words such as --find "murder clue inspector".')
    if words and flags["like"] is not None:
        raise UserError("Got both --find and --like; choose a topic by words or by examples.")
    folder = output_folder(flags["out"], flags["overwrite"])
    from dipole.corpora.corpus import open_corpus
    from dipole.recognizers.lda import Settings
    from dipole.recognizers.topics import topics
    from dipole.runs import keeping

    settings = Settings(
        flags["n_topics"],
        flags["iterations"],
        flags["restarts"],
        seed=flags["seed"],
        max_words=flags["max_words"],
    )
    corpus = open_corpus(flags["corpus"], flags["words_per_document"])
    examples = None if flags["like"] is None else open_corpus(flags["like"])
    with progress(flags["quiet"]) as show, keeping(folder, flags["overwrite"]) as keep:
        show(f"reading {corpus.path}")
        found = topics(corpus, settings, words=words, examples=examples, on_iteration=_moved(show))
        keep(found)
    for note in found.notes:
        tell(f"dipole: warning: {note}")
    if flags["json"]:
        _emit_records(found)
    else:
        emit(str(found))
    if not flags["quiet"]:
        best = found.topics[0].index if found.chosen is None else found.chosen
        where = one_line(str(folder))
        tell(f"dipole: look at {where}/topics.html; score texts with --recognizer {where}:{best}")


def _emit_records(found: Topics) -> None:
    for topic in found.topics:
        emit_json(
            {
                "topic": topic.index,
                "share": topic.share,
                "leading": topic.leading,
                "coherence": topic.coherence,
                "words": [{"word": word, "probability": share} for word, share in topic.words],
                "telling": topic.telling,
                "examples": [{"id": example.id, "share": example.share} for example in topic.examples],
                **({} if found.chosen is None else {"chosen": topic.index == found.chosen}),
            }
        )


def _moved(show: Progress) -> OnIteration:
    def on_iteration(index: int, total: int, moved: float) -> None:
        note = "a new start" if moved >= 1 else f"topics moved {100 * moved:.3f}%"
        show("iteration", index + 1, total, note)

    return on_iteration
