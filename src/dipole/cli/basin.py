"""`dipole basin`: from how bad a start does a method come to the notion?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, cast

import typer

from dipole.cli._flags import File
from dipole.cli._groups import Output, Source
from dipole.cli._named import folder_of, topic_of

if TYPE_CHECKING:
    from dipole.pointing.runners import Runner


@dataclass(frozen=True, kw_only=True)
class Basin:
    """Map the basin of attraction: which starts, as good as so, come to the notion, and where others end.

    Attributes:
        topic: A topic of a folder that `dipole topics` made, as topics:3.
        corpus: Documents: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file; .gz may follow.
        truth: Labels (CSV: id, label) that starts are corrupted from.
        out: Folder for the map.
        flavour: Labels that adversarial errors fall on. [default: what the topic finds likeliest]
        words_per_document: Cut each document into passages of about so many words.
        method: With commas: intersection, kmeans, fixed-point, fixed-point-free, mixture.
        grid: Values of precision, and of recall, from 0.55 to 1.
        seeds: Starts of each kind at each point.
        documents: How many labelled documents are used at most.
        layers: Layers to read, from 0 with commas, or auto.
        seed: Of clusters and the first start.
    """

    topic: Annotated[str, typer.Argument(metavar="TOPIC")]
    corpus: str
    truth: Annotated[str, typer.Option(metavar="FILE")]
    out: str
    flavour: File = None
    words_per_document: int | None = None
    method: Annotated[str, typer.Option(metavar="NAMES")] = "intersection,fixed-point,fixed-point-free"
    grid: int = 8
    seeds: int = 5
    documents: int = 2000
    layers: str = "auto"
    seed: int = 0
    source: Source
    output: Output

    def run(self) -> None:
        """Measure, save and print the shares."""
        folder = self.output.folder(self.out, reads=[folder_of(self.topic)])
        from dipole.corpora.corpus import open_corpus, read_labels
        from dipole.pointing.basin import basin
        from dipole.pointing.grid import Grid

        methods = tuple(dict.fromkeys(name.strip() for name in self.method.split(",") if name.strip()))
        grid = Grid(cast("tuple[Runner, ...]", methods), self.grid, self.seeds, seed=self.seed)
        corpus, truth = open_corpus(self.corpus, self.words_per_document), read_labels(self.truth)
        flavour = None if self.flavour is None else read_labels(self.flavour)
        pointer, lm = topic_of(self.topic), self.source.load()
        with self.output.working(folder) as (show, keep):
            found = basin(
                lm, pointer, corpus, truth, grid, flavour=flavour, layers=self.layers,
                most_documents=self.documents, progress=show,
            )  # fmt: skip
            keep(found)
        self.output.warn(found.notes)
        self.output.show(found, *found.to_dict()["summary"])
        self.output.say(f"look at {folder}/basin.html")
