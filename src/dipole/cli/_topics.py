"""Finding the topics that were asked for on the command line."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipole.cli._console import columns, emit, emit_json, one_line, tell
from dipole.cli._groups import output_folder
from dipole.cli._progress import Progress, progress
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.recognizers.lda import OnIteration
    from dipole.topics import Topics

_WORDS = 8


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
    from dipole.topics import find_topics

    settings = Settings(
        flags["n_topics"],
        flags["iterations"],
        flags["restarts"],
        seed=flags["seed"],
        max_words=flags["max_words"],
    )
    corpus = open_corpus(flags["corpus"], flags["words_per_document"])
    examples = None if flags["like"] is None else open_corpus(flags["like"])
    with progress(flags["quiet"]) as show:
        show(f"reading {corpus.path}")
        found = find_topics(
            corpus,
            folder,
            settings,
            words=words,
            examples=examples,
            overwrite=flags["overwrite"],
            on_iteration=_moved(show),
        )
    for note in found.notes:
        tell(f"dipole: warning: {note}")
    if flags["json"]:
        _emit_records(found)
    else:
        _print(found)
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


def _print(found: Topics) -> None:
    rows = [[str(t.index), f"{100 * t.share:.1f}%", f"{t.leading:,}"] for t in found.topics]
    header, *lines = columns(("topic", "share", "leads in"), rows)
    emit(f"{header}  words that tell it from the others")
    for line, topic in zip(lines, found.topics, strict=True):
        emit(f"{line}  " + one_line(", ".join(topic.telling[:_WORDS])))
    if found.chosen is not None:
        emit(f"\nasked for: topic {found.chosen}, {one_line(found.topics[found.chosen].name)}")


def _moved(show: Progress) -> OnIteration:
    def on_iteration(index: int, total: int, moved: float) -> None:
        note = "a new start" if moved >= 1 else f"topics moved {100 * moved:.3f}%"
        show("iteration", index + 1, total, note)

    return on_iteration
