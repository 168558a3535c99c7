"""`dipole topics`: the topics of a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._groups import Output


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
        from dipole.cli._topics import perform

        perform({**vars(self), **vars(self.output), "n_topics": self.topics})
