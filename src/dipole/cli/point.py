"""`dipole point`: from a weak topic to the strong model's own notion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._flags import File, Texts
from dipole.cli._groups import Output, Source
from dipole.cli._named import folder_of, topic_of
from dipole.types import UserError


@dataclass(frozen=True, kw_only=True)
class Point:
    """Find the model's own notion behind a topic, for `generate --intervention` and `score --recognizer`.

    Attributes:
        topic: A topic of a folder that `dipole topics` made, as topics:3.
        corpus: Documents: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file; .gz may follow.
        out: Folder for the notion.
        words_per_document: Cut each document into passages of about so many words.
        method: auto (intersection, or fixed-point where that is nearly everything), intersection, difference,
            residual, probe, kmeans, mixture or fixed-point.
        steer: fudge (guidance by a probe) or vector.
        prompt: A neutral prompt to write behind. May be repeated.
        truth: Labels (CSV: id, label) to measure by, never to fit by.
        flavour: Further labels, by which the report splits.
        layers: Layers to read, from 0 with commas, or auto.
        n: Texts to write for the report, each way; 0 for none.
        max_new_tokens: Token budget of each.
        seed: Of clusters, draws and texts.
    """

    topic: Annotated[str, typer.Argument(metavar="TOPIC")]
    corpus: str
    out: str
    words_per_document: int | None = None
    method: str = "auto"
    steer: str = "fudge"
    prompt: Texts = None
    truth: File = None
    flavour: File = None
    layers: str = "auto"
    n: int = 64
    max_new_tokens: int = 120
    seed: int = 0
    source: Source
    output: Output

    def run(self) -> None:
        """Point, save and print what was found."""
        folder = self.output.folder(self.out, reads=[folder_of(self.topic)])
        from dipole.corpora.corpus import open_corpus, read_labels
        from dipole.pointing.point import point
        from dipole.pointing.record import Settings

        if self.flavour is not None and self.truth is None:
            raise UserError(
                "--flavour splits what is measured by the truth; give --truth too, or leave it out."
            )
        names = ("method", "steer", "layers", "n", "max_new_tokens", "seed")
        settings = Settings(**{name: getattr(self, name) for name in names})
        corpus = open_corpus(self.corpus, self.words_per_document)
        truth, flavour = (None if file is None else read_labels(file) for file in (self.truth, self.flavour))
        pointer, lm = topic_of(self.topic), self.source.load()
        with self.output.working(folder) as (show, keep):
            found = point(
                lm, pointer, corpus, settings, prompts=self.prompt or (), truth=truth, flavour=flavour,
                progress=show,
            )  # fmt: skip
            keep(found)
        self.output.warn(found.notes)
        record = found.to_dict()
        for written in record["written"]:
            written.pop("texts")
        self.output.show(found, record)
        self.output.say(f"look at {folder}/report.html; use it with --intervention {folder}:1.0")
