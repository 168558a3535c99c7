"""Topic: a topic model (LDA) of a corpus, and how much of a text is about one of its topics."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dipole.concepts.topic import Topic
from dipole.corpora.corpus import Document
from dipole.files.paths import given_path
from dipole.progress import Progress, silent
from dipole.recognizers import _topic_folder, lda
from dipole.recognizers._statements import texts_of
from dipole.recognizers._topic_folder import Training
from dipole.recognizers.lda import Array, Found, Settings, word_distributions
from dipole.types import DipoleWarning, Score, UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from dipole.protocols import LM

_BATCH = 2048


@dataclass(frozen=True, eq=False)
class TopicModel:
    """Latent Dirichlet allocation of a corpus (Blei, Ng and Jordan 2003).

    It sees which words a text has and how often, and nothing else: a rough notion to point with.

    Attributes:
        components: `(topics, words)` pseudo-counts of each word in each topic, above 0.
        vocabulary: The words, in the order of the columns.
        settings: How it was fitted.
        shares: `(topics,)` mean share of each topic in the corpus.
        seeds: Seed of each start.
        bounds: Variational bound of each start in nats, when they were compared.
        kept: Which start was kept.
        bound: Its bound at the end.
        moved: Share of the topics' probability that still moved in the last iteration.
        training: What it was fitted to; None in a model that was loaded without.
        source: Folder that it was loaded from; empty before.
        splitting: How it cuts a text into words, a key of `lda.SPLITTINGS`.
    """

    components: Array
    vocabulary: tuple[str, ...]
    settings: Settings
    shares: Array
    seeds: tuple[int, ...]
    bounds: tuple[float, ...]
    kept: int
    bound: float
    moved: float
    training: Training | None = None
    source: str = ""
    splitting: str = "unicode"

    @classmethod
    def fit(
        cls,
        documents: Iterable[Document],
        settings: Settings = Settings(),
        progress: Progress = silent,
    ) -> TopicModel:
        """Fit to documents, which are streamed once; their word counts stay in memory.

        Args:
            documents: A corpus.
            settings: Number of topics, iterations, seed, …
            progress: Told of each iteration.

        Raises:
            UserError: Fewer documents than topics, no word left to count, or scikit-learn is missing.
        """
        ids: list[str] = []

        def texts() -> Iterator[str]:
            for document in documents:
                ids.append(document.id)
                yield document.text

        counts, vocabulary, all_words = lda.count_words(texts(), settings)
        found: Found = lda.fit_lda(counts, settings, progress)
        model = cls(vocabulary=vocabulary, settings=settings, shares=np.empty(0), **found._asdict())
        training = Training(tuple(ids), model.shares_of(counts), counts, all_words)
        return replace(model, shares=training.theta.mean(axis=0), training=training)

    @property
    def n_topics(self) -> int:
        """How many topics it has."""
        return len(self.components)

    @property
    def priors(self) -> tuple[float, float]:
        """Dirichlet priors of a document's topics and of a topic's words: scikit-learn's, 1 / topics."""
        return 1 / self.n_topics, 1 / self.n_topics

    @cached_property
    def _transformer(self) -> Any:
        return lda.restored(self.components, *self.priors)

    @cached_property
    def _counter(self) -> Any:
        from sklearn.feature_extraction.text import CountVectorizer

        places = {word: i for i, word in enumerate(self.vocabulary)}
        return CountVectorizer(vocabulary=places, **lda.SPLITTINGS[self.splitting])

    def count(self, texts: Iterable[str]) -> csr_matrix:
        """How often each text has each word of the vocabulary, `(n, words)`."""
        counts: csr_matrix = self._counter.transform(texts).astype(np.float64)
        return counts

    def posterior(self, texts: Iterable[str]) -> Array:
        """Share of each topic in each text, `(n, topics)` in float64; rows sum to 1.

        A text without any known word has the prior's shares, all equal. Texts are streamed.
        """
        stream = iter(texts)
        parts = [np.empty((0, self.n_topics))]
        while batch := list(islice(stream, _BATCH)):
            parts.append(self.shares_of(self.count(batch)))
        return np.concatenate(parts)

    def shares_of(self, counts: csr_matrix) -> Array:
        """`posterior` for texts whose words are counted already; see `count`."""
        return np.asarray(self._transformer.transform(counts), dtype=np.float64)

    def top_words(self, topic: int, n: int = 10) -> list[tuple[str, float]]:
        """The topic's most probable words with their probabilities; ties in the order of the alphabet."""
        row = word_distributions(self.components)[self.checked(topic)]
        order = np.argsort(-row, kind="stable")[:n]
        return [(self.vocabulary[i], float(row[i])) for i in order]

    def telling_words(self, topic: int, n: int = 10) -> list[str]:
        """Words that stand for the topic: probable in it, and more so than elsewhere (`lda.relevance`)."""
        row = lda.relevance(self.components, self.shares)[self.checked(topic)]
        return [self.vocabulary[i] for i in np.argsort(-row, kind="stable")[:n]]

    def topic(self, topic: int, n: int = 30) -> Topic:
        """The topic as a concept, with its `n` most probable words; it is called by the most telling ones."""
        words = tuple(word for word, _ in self.top_words(topic, n))
        name = ", ".join(self.telling_words(topic, 3))
        return Topic(name, words, topic, self.source)

    def checked(self, topic: int) -> int:
        """The number of a topic.

        Raises:
            UserError: The model has no such topic.
        """
        if not 0 <= topic < self.n_topics:
            raise UserError(f"There is no topic {topic}: the model has topics 0 to {self.n_topics - 1}.")
        return topic

    def choose(self, *, words: Sequence[str] = (), examples: Sequence[str] = ()) -> int:
        """The topic that gives `words` most probability, or that has the largest mean share of `examples`.

        Args:
            words: Words that stand for what is meant; those that the model does not know are left out.
            examples: Texts that are about what is meant, about 20 of them.

        Raises:
            UserError: Both are given, or neither, or the model knows no word of them.
        """
        if bool(words) == bool(examples):
            raise UserError("A topic is chosen by words or by example texts; give one of the two.")
        counts = self.count(words or examples)
        known = np.asarray(counts.sum(axis=1)).ravel() > 0
        if not known.any():
            said = ", ".join(repr(text[:40]) for text in (words or examples)[:5])
            raise UserError(f"The topic model knows no word of {said}; choose a topic by words that it has.")
        if examples:
            return int(self.shares_of(counts[known]).mean(axis=0).argmax())
        if not known.all():
            lost = ", ".join(repr(word) for word, seen in zip(words, known, strict=True) if not seen)
            warnings.warn(f"The topic model does not know {lost}.", DipoleWarning, stacklevel=2)
        return int(lda.joint_log_probability(self.components, counts.indices).argmax())

    def save(self, folder: Path) -> None:
        """Write the model as safetensors and JSON, with the shares of the training documents by id.

        Raises:
            UserError: A file can't be written.
        """
        doc_topic, topic_word = self.priors
        facts = {
            "settings": asdict(self.settings),
            "doc_topic_prior": doc_topic,
            "topic_word_prior": topic_word,
            "seeds": self.seeds,
            "bounds": self.bounds,
            "kept": self.kept,
            "bound": self.bound,
            "moved": self.moved,
            "splitting": self.splitting,
            "topics": [[word for word, _ in self.top_words(k)] for k in range(self.n_topics)],
        }
        _topic_folder.write(folder, self.components, self.shares, self.vocabulary, facts, self.training)

    @classmethod
    def load(cls, folder: str | Path, training: bool = False) -> TopicModel:
        """Read a saved model; nothing but numbers and text is read.

        Args:
            folder: What `save` wrote.
            training: Read the shares of the training documents too.

        Raises:
            UserError: It is not there, is damaged, or its vocabulary is not the one that it was fitted with.
        """
        place = given_path(folder, "The folder of topics")
        components, shares, vocabulary, facts = _topic_folder.read(place)
        return cls(
            components=components,
            vocabulary=vocabulary,
            settings=Settings(**facts["settings"]),
            shares=shares,
            training=_topic_folder.read_training(place) if training else None,
            source=str(folder),
            **{name: facts[name] for name in ("seeds", "bounds", "kept", "bound", "moved", "splitting")},
        )


@dataclass(frozen=True, eq=False)
class TopicScore:
    """Scores a text by how much of it is about one topic: log-odds of its share, theta[:, k].

    Attributes:
        model: The topic model.
        index: Number of the topic, from 0.
    """

    model: TopicModel = field(repr=False)
    index: int

    name: ClassVar[str] = "topic"

    def __post_init__(self) -> None:
        """Refuse a topic that the model does not have."""
        self.model.checked(self.index)

    @property
    def concept(self) -> Topic:
        """The topic that it scores for."""
        return self.model.topic(self.index)

    def score(self, texts: Sequence[str], concept: Any = None) -> list[Score]:
        """Log-odds of each text, positive where more than half of it is about the topic.

        A text without a word that the model knows is unscored. The same text has the same score in any list.

        Args:
            texts: Texts to score.
            concept: Not read: the recognizer has a concept of its own.
        """
        del concept
        listed = texts_of(texts, self.name)
        scores: list[Score] = []
        for first in range(0, len(listed), _BATCH):
            counts = self.model.count(listed[first : first + _BATCH])
            odds = lda.log_odds(self.model.shares_of(counts), self.index)
            known = np.asarray(counts.sum(axis=1)).ravel() > 0
            scores += [
                Score(float(value)) if seen else Score.unscored("has no word that the topic model knows")
                for value, seen in zip(odds, known, strict=True)
            ]
        return scores

    @classmethod
    def load(
        cls, folder: Path, item: str | None, open_model: Callable[[str], LM] | None = None
    ) -> TopicScore:
        """The recognizer of one topic of a saved model.

        Args:
            folder: What `TopicModel.save` wrote.
            item: Number of the topic, as text.
            open_model: Not called: no language model is needed.

        Raises:
            UserError: The model can't be read, or the item is no topic of it.
        """
        del open_model
        model = TopicModel.load(folder)
        there = f"the model has topics 0 to {model.n_topics - 1}"
        if item is None:
            raise UserError(
                f"{folder} holds {model.n_topics} topics; say which one, such as {folder}:0 ({there})."
            )
        if not (item.isascii() and item.isdigit() and len(item) < 10):
            raise UserError(f"{folder}:{item}: {item!r} is no number of a topic; {there}.")
        if int(item) >= model.n_topics:
            raise UserError(f"{folder}:{item}: {there}.")
        return cls(model, int(item))
