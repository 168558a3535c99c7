"""Find the topics of a corpus, and keep them in a folder that recognizers are loaded from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from dipole.corpora.corpus import Corpus, Skipped
from dipole.files import staged, write_manifest, write_text_atomic
from dipole.files.paths import given_path
from dipole.recognizers.lda import OnIteration, Settings
from dipole.recognizers.topic import TopicModel
from dipole.report.manifest import verb_facts
from dipole.report.topics import notes, render_topics_html
from dipole.report.topics_view import TopicView, topic_views
from dipole.types import UserError

PAGE = "topics.html"


@dataclass(frozen=True)
class Topics:
    """What was found.

    Attributes:
        model: The topic model, with the shares of the documents it was fitted to.
        topics: Words, share and examples of each topic.
        skipped: Files and rows of the corpus that were left out.
        notes: Plain sentences that a reader must see first.
        chosen: Number of the topic that `words` or `examples` picked out; None without these.
    """

    model: TopicModel
    topics: tuple[TopicView, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    chosen: int | None = None


def find_topics(
    corpus: Corpus,
    out: Path | str,
    settings: Settings = Settings(),
    *,
    words: Sequence[str] = (),
    examples: Corpus | None = None,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    on_iteration: OnIteration | None = None,
) -> Topics:
    """Fit a topic model, and write it with a page to look at.

    The folder is put in place at the end. The corpus is read twice: to count words, and for the examples.

    Args:
        corpus: What to read.
        out: Folder for the model (`recognizer.json`, `topics.*`), the shares of the documents
            (`theta.safetensors`, `documents.jsonl`), `topics.html` and `manifest.json`.
        settings: Number of topics, iterations, seed, …
        words: Choose the topic that gives these words most probability.
        examples: Choose the topic with the largest mean share of these.
        overwrite: Replace what dipole made there before.
        command: Command line for the manifest; that of this process by default.
        on_iteration: Called after each iteration with its number, how many there will be, and the share of
            the topics' probability that it moved.

    Raises:
        UserError: Bad input, or a folder that can't be used. Words that the model does not know are no error:
            nothing is chosen, and the notes say why.
    """
    folder, started = given_path(out, "The output folder"), datetime.now(UTC)
    like = None if examples is None else [document.text for document in examples]
    with staged(folder, overwrite) as made:
        model = TopicModel.fit(corpus, settings, on_iteration)
        skipped = corpus.skipped
        chosen, said = _chosen(model, words, like)
        found = topic_views(model, corpus)
        facts = verb_facts(
            "topics",
            started,
            command,
            out=str(out),
            corpus=str(corpus.path),
            words_per_document=corpus.words,
            documents=len(model.training.ids) if model.training else 0,
            skipped=[{"name": s.name, "reason": s.reason} for s in skipped],
            settings=asdict(settings),
            chosen=chosen,
            versions={"scikit-learn": metadata.version("scikit-learn")},
        )
        model.save(made)
        write_text_atomic(made / PAGE, render_topics_html(model, found, skipped, facts, chosen))
        write_manifest(made, facts)
    return Topics(model, found, skipped, (*notes(model, skipped), *said), chosen)


def _chosen(
    model: TopicModel, words: Sequence[str], examples: Sequence[str] | None
) -> tuple[int | None, list[str]]:
    """The topic that was asked for, or why there is none: a fitted model is kept all the same."""
    if not words and examples is None:
        return None, []
    try:
        return model.choose(words=words, examples=examples or ()), []
    except UserError as error:
        return None, [str(error)]
