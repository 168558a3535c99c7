"""`dipole point`: from a weak topic to the strong model's own notion."""

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


def point(
    topic: Topic,
    corpus: CorpusPath,
    out: Annotated[str, typer.Option("--out", help="Folder for the notion.")],
    words_per_document: WordsPerDocument = None,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="auto (intersection, or fixed-point where that is nearly everything), intersection, "
            "difference, residual, probe, kmeans, mixture or fixed-point.",
        ),
    ] = "auto",
    steer: Annotated[str, typer.Option("--steer", help="fudge (guidance by a probe) or vector.")] = "fudge",
    prompt: Annotated[
        list[str] | None,
        typer.Option("--prompt", metavar="TEXT", help="A neutral prompt to write behind. May be repeated."),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth", metavar="FILE", help="Labels (CSV: id, label) to measure by, never to fit by."
        ),
    ] = None,
    flavour: Annotated[
        str | None,
        typer.Option("--flavour", metavar="FILE", help="Further labels, by which the report splits."),
    ] = None,
    layers: Layers = "auto",
    n: Annotated[int, typer.Option("-n", help="Texts to write for the report, each way; 0 for none.")] = 64,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="Token budget of each.")] = 120,
    seed: Annotated[int, typer.Option("--seed", help="Of clusters, draws and texts.")] = 0,
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
    """Find the model's own notion behind a topic, for `generate --intervention` and `score --recognizer`."""
    flags = dict(locals())
    from dipole.cli._pointing import perform

    perform(flags)
