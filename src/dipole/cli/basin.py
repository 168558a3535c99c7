"""`dipole basin`: from how bad a start does a method come to the notion?"""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._flags import (
    CorpusPath,
    Device,
    Dtype,
    Json,
    Layers,
    Model,
    Overwrite,
    Quiet,
    Revision,
    SpecialTokens,
    Topic,
    Trust,
    WordsPerDocument,
)


def basin(
    topic: Topic,
    corpus: CorpusPath,
    truth: Annotated[
        str,
        typer.Option(
            "--truth", metavar="FILE", help="Labels (CSV: id, label) that starts are corrupted from."
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="Folder for the map.")],
    flavour: Annotated[
        str | None,
        typer.Option(
            "--flavour",
            metavar="FILE",
            help="Labels that adversarial errors fall on. [default: what the topic finds likeliest]",
        ),
    ] = None,
    words_per_document: WordsPerDocument = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="NAMES",
            help="With commas: intersection, kmeans, fixed-point, fixed-point-free, mixture.",
        ),
    ] = "intersection,fixed-point,fixed-point-free",
    grid: Annotated[
        int, typer.Option("--grid", help="Values of precision, and of recall, from 0.55 to 1.")
    ] = 8,
    seeds: Annotated[int, typer.Option("--seeds", help="Starts of each kind at each point.")] = 5,
    documents: Annotated[
        int, typer.Option("--documents", help="How many labelled documents are used at most.")
    ] = 2000,
    layers: Layers = "auto",
    seed: Annotated[int, typer.Option("--seed", help="Of clusters and the first start.")] = 0,
    model: Model = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Map the basin of attraction: which starts, as good as so, come to the notion, and where others end."""
    flags = dict(locals())
    from dipole.cli._basin import perform

    perform(flags)
