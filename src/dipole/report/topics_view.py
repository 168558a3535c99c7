"""What the page of a topic model shows: topics in numbers, example documents, and a map of all documents."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dipole.corpora.corpus import Document
from dipole.recognizers.lda import Array, coherence, word_distributions
from dipole.recognizers.topic import TopicModel

WORDS = 10
_EXAMPLES = 3
_MOST_POINTS = 2000


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


class Map(NamedTuple):
    """Documents and topics in the plane.

    Attributes:
        anchors: `(topics, 2)` where each topic lies, on the circle of radius 1.
        points: `(m, 2)` where each shown document lies.
        rows: Which documents are shown.
        leading: Topic with the largest share in each of them.
    """

    anchors: Array
    points: Array
    rows: tuple[int, ...]
    leading: tuple[int, ...]


def document_map(theta: Array, most: int = _MOST_POINTS, seed: int = 0) -> Map:
    """Topics on a circle, those that share documents beside each other, and each document among its topics.

    A document lies at the mean of the topics' places, weighted by its shares: near the rim where one topic
    has nearly all of it, between two neighbours where it is about both (RadViz, Hoffman et al. 1997). So that
    equal documents can be seen, each is moved a little at random. Of many, `most` are drawn at random.

    Args:
        theta: `(n, topics)`.
        most: Largest number of documents.
        seed: Of the draw.
    """
    rng = np.random.default_rng(seed)
    n, topics = theta.shape
    rows = np.sort(rng.choice(n, most, replace=False)) if n > most else np.arange(n)
    angles = np.empty(topics)
    angles[ring(theta)] = 2 * np.pi * np.arange(topics) / topics - np.pi / 2
    anchors = np.column_stack([np.cos(angles), np.sin(angles)])
    noise = rng.normal(size=(len(rows), 2)) * 0.03
    leading = theta[rows].argmax(axis=1)
    return Map(
        anchors,
        theta[rows] @ anchors + noise,
        tuple(int(row) for row in rows),
        tuple(int(topic) for topic in leading),
    )


def ring(theta: Array) -> list[int]:
    """Topics in an order in which neighbours share documents; the last is a neighbour of the first.

    Nearest neighbour first, then two-opt: stretches are turned round while that brings like topics together.
    """
    root = np.sqrt(theta)
    size = np.linalg.norm(root, axis=0)
    far = 1 - (root.T @ root) / np.maximum(np.outer(size, size), 1e-12)
    left, order = set(range(1, theta.shape[1])), [0]
    while left:
        order.append(min(left, key=lambda k: (far[order[-1], k], k)))
        left.remove(order[-1])
    return _two_opt(order, far)


def _two_opt(order: Sequence[int], far: Array) -> list[int]:
    best, n = list(order), len(order)
    improved = n > 3
    while improved:
        improved = False
        for i in range(n - 1):
            for j in range(i + 2, n - (i == 0)):
                a, b, c, d = best[i], best[i + 1], best[j], best[(j + 1) % n]
                if far[a, c] + far[b, d] < far[a, b] + far[c, d] - 1e-9:
                    best[i + 1 : j + 1] = best[i + 1 : j + 1][::-1]
                    improved = True
    return best
