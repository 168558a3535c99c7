"""The topics of a corpus: found, described, and one of them picked out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from dipole.corpora.corpus import Corpus, Document, Skipped
from dipole.origin import Origin, now, origin
from dipole.progress import Progress, silent
from dipole.recognizers.lda import Array, Settings, coherence, word_distributions
from dipole.recognizers.topic import TopicModel
from dipole.shown import terminal
from dipole.shown.terminal import columns
from dipole.shown.text import one_line
from dipole.types import UserError

WORDS = 10
_EXAMPLES = 3
_SHOWN = 8
_STILL_MOVING = 0.01


class Example(NamedTuple):
    """A document that is about a topic.

    Attributes:
        id: Its id.
        share: The topic's share of it.
        text: What it says.
    """

    id: str
    share: float
    text: str


@dataclass(frozen=True)
class TopicView:
    """One topic.

    Attributes:
        index: Its number, from 0.
        share: Its mean share of the documents.
        leading: Documents in which it has the largest share.
        words: Its most probable words with their probabilities.
        telling: Words that are probable in it, and more so than elsewhere.
        coherence: How far these words occur in the same documents: mean normalised PMI, -1 to 1.
        nearest: The topic whose words are most like its own.
        likeness: Bhattacharyya coefficient with that one, 0 to 1 (identical).
        examples: Documents with the largest share of it.
    """

    index: int
    share: float
    leading: int
    words: tuple[tuple[str, float], ...]
    telling: tuple[str, ...]
    coherence: float
    nearest: int
    likeness: float
    examples: tuple[Example, ...] = ()

    @property
    def name(self) -> str:
        """The three most telling words."""
        return ", ".join(self.telling[:3])


@dataclass(frozen=True, eq=False)
class Topics:
    """What was found.

    Attributes:
        model: The topic model, with the shares of the documents it was fitted to.
        topics: Words, share and examples of each topic.
        skipped: Files and rows of the corpus that were left out.
        notes: Plain sentences that a reader must see first.
        origin: What makes it again.
        chosen: Number of the topic that `words` or `examples` picked out; None without these.
    """

    model: TopicModel
    topics: tuple[TopicView, ...]
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    origin: Origin
    chosen: int | None = None

    def __str__(self) -> str:
        """A line a topic, and the one that was asked for."""
        rows = [[str(t.index), f"{100 * t.share:.1f}%", f"{t.leading:,}"] for t in self.topics]
        header, *lines = columns(("topic", "share", "leads in"), rows)
        shown = [f"{header}  words that tell it from the others"]
        for line, topic in zip(lines, self.topics, strict=True):
            shown.append(f"{line}  " + terminal.one_line(", ".join(topic.telling[:_SHOWN])))
        if self.chosen is not None:
            asked = terminal.one_line(self.topics[self.chosen].name)
            shown.append(f"\nasked for: topic {self.chosen}, {asked}")
        return "\n".join(shown)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain data of each topic."""
        return [
            {
                "topic": topic.index,
                "share": topic.share,
                "leading": topic.leading,
                "coherence": topic.coherence,
                "words": [{"word": word, "probability": share} for word, share in topic.words],
                "telling": topic.telling,
                "examples": [{"id": example.id, "share": example.share} for example in topic.examples],
                **({} if self.chosen is None else {"chosen": topic.index == self.chosen}),
            }
            for topic in self.topics
        ]


def topics(
    corpus: Corpus,
    settings: Settings = Settings(),
    *,
    words: Sequence[str] = (),
    examples: Corpus | None = None,
    progress: Progress = silent,
) -> Topics:
    """Fit a topic model, and describe its topics.

    The corpus is read twice: to count words, and for the examples.

    Args:
        corpus: What to read.
        settings: Number of topics, iterations, seed, …
        words: Choose the topic that gives these words most probability.
        examples: Choose the topic with the largest mean share of these.
        progress: Told of each iteration, and of the share of the topics' probability that it moved.

    Raises:
        UserError: Bad input. Words that the model does not know are no error: nothing is chosen, and the
            notes say why.
    """
    started = now()
    progress(f"reading {corpus.path}")
    like = None if examples is None else [document.text for document in examples]
    model = TopicModel.fit(corpus, settings, progress)
    skipped = corpus.skipped
    chosen, said = _chosen(model, words, like)
    made = origin(
        "topics",
        started,
        corpus=str(corpus.path),
        words_per_document=corpus.words,
        documents=len(model.training.ids) if model.training else 0,
        skipped=[{"name": s.name, "reason": s.reason} for s in skipped],
        settings=asdict(settings),
        chosen=chosen,
    )
    notes = (*notes_on(model, skipped), *said)
    return Topics(model, topic_views(model, corpus), skipped, notes, made, chosen)


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


def notes_on(model: TopicModel, skipped: Sequence[Skipped]) -> list[str]:
    """Plain sentences that a reader must see first."""
    found = []
    if skipped:
        first = one_line(f"{skipped[0].name} {skipped[0].reason}")
        rest = "" if len(skipped) == 1 else f", and {len(skipped) - 1} more"
        found.append(f"{len(skipped)} left out: {first}{rest}.")
    training = model.training
    if training is not None and training.counts is not None:
        silent = int((np.asarray(training.counts.sum(axis=1)).ravel() == 0).sum())
        if silent:
            found.append(
                f"Without any word that is counted: {silent} of {len(training.ids)} documents, in which all "
                "topics have equal shares."
            )
    if model.moved > _STILL_MOVING:
        found.append(
            f"The topics were still moving in the last iteration ({100 * model.moved:.1f}% of their "
            "probability); give more --iterations."
        )
    return found


def topic_views(model: TopicModel, documents: Iterable[Document]) -> tuple[TopicView, ...]:
    """The topics of a model that was just fitted; `documents` are read again for the examples."""
    training = model.training
    if training is None or training.counts is None:
        raise ValueError("topic_views() wants a model with its training documents")
    theta = training.theta
    leading = np.bincount(theta.argmax(axis=1), minlength=model.n_topics)
    likeness = word_likeness(model.components)
    np.fill_diagonal(likeness, -1.0)
    place = {word: i for i, word in enumerate(model.vocabulary)}
    words = [tuple(model.top_words(k, WORDS)) for k in range(model.n_topics)]
    together = coherence(training.counts, [[place[word] for word, _ in top] for top in words])
    chosen = [np.argsort(-theta[:, k], kind="stable")[:_EXAMPLES].tolist() for k in range(model.n_topics)]
    texts = _texts_at(documents, {row for rows in chosen for row in rows})
    return tuple(
        TopicView(
            k,
            float(model.shares[k]),
            int(leading[k]),
            words[k],
            tuple(model.telling_words(k, WORDS)),
            float(together[k]),
            int(likeness[k].argmax()),
            float(likeness[k].max()),
            tuple(Example(training.ids[r], float(theta[r, k]), texts.get(r, "")) for r in chosen[k]),
        )
        for k in range(model.n_topics)
    )


def _texts_at(documents: Iterable[Document], rows: set[int]) -> dict[int, str]:
    return {row: document.text for row, document in enumerate(documents) if row in rows}


def word_likeness(components: Array) -> Array:
    """Bhattacharyya coefficient of each two topics' word distributions, `(topics, topics)`, 0 to 1."""
    root = np.sqrt(word_distributions(components))
    return np.asarray(root @ root.T)
