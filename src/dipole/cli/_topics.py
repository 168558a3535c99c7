"""Finding the topics that were asked for on the command line."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._output import output_folder
from dipole.files import is_main_process
from dipole.shown.terminal import one_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.recognizers.lda import OnIteration
    from dipole.recognizers.topics import Topics

_LINES = 10


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
    with (
        _progress(flags["quiet"], str(corpus.path)) as on_iteration,
        keeping(folder, flags["overwrite"]) as keep,
    ):
        found = keep(topics(corpus, settings, words=words, examples=examples, on_iteration=on_iteration))
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


@contextmanager
def _progress(quiet: bool, corpus: str) -> Iterator[OnIteration | None]:
    """A function to call after each iteration: a bar on a terminal, some plain lines elsewhere."""
    if quiet or not is_main_process():
        yield None
    elif sys.stderr.isatty():
        with _bar(corpus) as on_iteration:
            yield on_iteration
    else:
        tell(f"reading {one_line(corpus)} …")
        yield _line


def _line(index: int, total: int, moved: float) -> None:
    if index + 1 == total or index % max(1, total // _LINES) == 0:
        tell(f"iteration {index + 1}/{total}  {_numbers(moved)}")


def _numbers(moved: float) -> str:
    return "a new start" if moved >= 1 else f"topics moved {100 * moved:.3f}%"


@contextmanager
def _bar(corpus: str) -> Iterator[OnIteration]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.text import Text

    class Description(TextColumn):
        """A name that holds brackets is no markup."""

        def render(self, task: Any) -> Text:
            return Text(str(task.description))

    made = (
        Description("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*made, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"reading {one_line(corpus)}", total=None, numbers="")

        def on_iteration(index: int, total: int, moved: float) -> None:
            name = f"iteration {index + 1}/{total}"
            bar.update(task, description=name, completed=index + 1, total=total, numbers=_numbers(moved))

        yield on_iteration
