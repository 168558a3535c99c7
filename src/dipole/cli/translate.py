"""`dipole translate`: a steering vector of one model as one of another."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import typer

from dipole.cli._concept import dipole_from
from dipole.cli._console import tell
from dipole.cli._flags import Texts
from dipole.cli._groups import Output, Poles, Source
from dipole.cli._named import base_of, loaded_vector
from dipole.shown.terminal import one_line
from dipole.types import UserError


@dataclass(frozen=True, kw_only=True)
class Both(Source):
    """How both models are loaded, which have flags of their own."""

    model: None = field(default=None, init=False)
    revision: None = field(default=None, init=False)


@dataclass(frozen=True, kw_only=True)
class Translate:
    """Translate a steering vector to another model by a linear map (stitching).

    With a dipole the result is measured beside the target's own vector and nulls.

    Attributes:
        vector: A vector that `dipole fit vector` made.
        to: The model that it is wanted for.
        corpus: Documents: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file; .gz may follow.
        out: Folder for the translated vector.
        from_: The model that it was made for. [default: as the vector names it]
        words_per_document: Cut each document into passages of about so many words.
        layers: Layers of --to to try, such as 2,3, or auto: equal relative depth.
        prompt: Where the vector acts; the map is best there. May be repeated. [default: as it was made]
        near: A map best near the prompts, or one for all text.
        n: Pairs of completions to measure the effect by.
        max_tokens: Tokens of a text that are read.
        batch_size: Rows a forward.
        seed: Seed of nulls and completions.
    """

    vector: Annotated[str, typer.Argument(metavar="FOLDER")]
    to: str
    corpus: str
    out: str
    from_: Annotated[str | None, typer.Option("--from")] = None
    words_per_document: int | None = None
    layers: str = "auto"
    prompt: Texts = None
    near: Annotated[bool, typer.Option("--near/--all-text")] = True
    poles: Poles
    n: int = 48
    max_tokens: int = 512
    batch_size: int = 32
    seed: int = 0
    source: Both
    output: Output

    def run(self) -> None:
        """Translate, save and print what came through."""
        folder = self.output.folder(self.out, reads=[self.vector])
        from dipole.corpora.corpus import open_corpus
        from dipole.stitching.translate import Translation, translate

        names = ("layers", "near", "max_tokens", "batch_size", "n", "seed")
        settings = Translation(**{name: getattr(self, name) for name in names})
        corpus = open_corpus(self.corpus, self.words_per_document)
        dipole = dipole_from(self.poles, self.to, need_prompts=False) if self.poles.given else None
        vector = loaded_vector(self.vector, "be translated")
        base = self.from_ or base_of([(vector, self.vector)])
        if base is None:
            raise UserError("Nothing tells which model the vector was made for; name it with --from.")
        source, target = self.source.load(base), self.source.load(self.to)
        with self.output.working(folder) as (show, keep):
            made = translate(
                vector, source, target, corpus, self.prompt or (), dipole, settings, show, self.corpus
            )
            keep(made)
        for skipped in corpus.skipped[:5]:
            tell(f"dipole: {skipped.name} was left out: {skipped.reason}")
        record = {"out": str(folder), "layer": made.vector.layers[0], **made.facts}
        self.output.show(f"{one_line(str(folder))}: {made}", record)
        self.output.say(f"use it with --intervention {folder}; see report.html there")
