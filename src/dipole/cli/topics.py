"""`dipole topics`: the topics of a corpus."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._groups import Output
from dipole.types import UserError


@dataclass(frozen=True, kw_only=True)
class Topics:
    """Find the topics of a corpus (LDA), for `score --recognizer topics:3` and `point topics:3`.

    Attributes:
        corpus: A folder of .txt files, or a .txt, .jsonl, .csv or .tsv file with `text`; .gz may follow.
        out: Folder for the topics.
        topics: How many topics.
        words_per_document: Cut each document into passages of about so many words.
        find: Name the topic that gives these words most probability.
        like: Name the topic that these example texts are about.
        max_words: Count only so many words, those that most documents have; 0: all.
        seed: Seed of the first start.
        iterations: Iterations over all documents.
        restarts: Starts; the best is kept after a sixth of the iterations.
    """

    corpus: Annotated[str, typer.Argument(metavar="CORPUS")]
    out: str
    topics: int = 10
    words_per_document: int | None = None
    find: Annotated[str | None, typer.Option(metavar="WORDS")] = None
    like: Annotated[str | None, typer.Option(metavar="CORPUS")] = None
    max_words: int = 0
    seed: int = 0
    iterations: int = 60
    restarts: int = 3
    output: Output

    def run(self) -> None:
        """Fit, save and print the topics."""
        words = re.sub("[,，、،]", " ", self.find or "").split()
        if self.find is not None and not words:
            raise UserError('--find has no word; give words such as --find "murder clue inspector".')
        if words and self.like is not None:
            raise UserError("Got both --find and --like; choose a topic by words or by examples.")
        folder = self.output.folder(self.out)
        from dipole.corpora.corpus import open_corpus
        from dipole.recognizers.lda import Settings
        from dipole.recognizers.topics import topics

        settings = Settings(
            self.topics, self.iterations, self.restarts, seed=self.seed, max_words=self.max_words
        )
        corpus = open_corpus(self.corpus, self.words_per_document)
        examples = None if self.like is None else open_corpus(self.like)
        with self.output.working(folder) as (show, keep):
            found = topics(corpus, settings, words=words, examples=examples, progress=show)
            keep(found)
        self.output.warn(found.notes, "warning")
        self.output.show(found, *found.to_dicts())
        best = found.topics[0].index if found.chosen is None else found.chosen
        self.output.say(f"look at {folder}/topics.html; score texts with --recognizer {folder}:{best}")
