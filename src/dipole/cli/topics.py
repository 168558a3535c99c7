"""`dipole topics`: the topics of a corpus."""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._flags import Json, Overwrite, Quiet, WordsPerDocument


def topics(
    corpus: Annotated[
        str,
        typer.Argument(
            metavar="CORPUS",
            help="A folder of .txt files, or a .txt, .jsonl, .csv or .tsv file with `text`; .gz may follow.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="Folder for the topics.")],
    n_topics: Annotated[int, typer.Option("--topics", help="How many topics.")] = 10,
    words_per_document: WordsPerDocument = None,
    find: Annotated[
        str | None,
        typer.Option(
            "--find", metavar="WORDS", help="Name the topic that gives these words most probability."
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option("--like", metavar="CORPUS", help="Name the topic that these example texts are about."),
    ] = None,
    max_words: Annotated[
        int,
        typer.Option("--max-words", help="Count only so many words, those that most documents have; 0: all."),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the first start.")] = 0,
    iterations: Annotated[int, typer.Option("--iterations", help="Iterations over all documents.")] = 60,
    restarts: Annotated[
        int, typer.Option("--restarts", help="Starts; the best is kept after a sixth of the iterations.")
    ] = 3,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find the topics of a corpus (LDA), for `score --recognizer topics:3` and `point topics:3`."""
    flags = dict(locals())
    from dipole.cli._topics import perform

    perform(flags)
