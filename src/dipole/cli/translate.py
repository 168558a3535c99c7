"""`dipole translate`: a steering vector of one model as one of another."""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._flags import (
    Against,
    Claim,
    CorpusPath,
    Device,
    DipoleFile,
    Dtype,
    Json,
    Overwrite,
    Quiet,
    SpecialTokens,
    Trust,
    WordsPerDocument,
)


def translate(
    vector: Annotated[str, typer.Argument(metavar="FOLDER", help="A vector that `dipole fit vector` made.")],
    to: Annotated[str, typer.Option("--to", help="The model that it is wanted for.")],
    corpus: CorpusPath,
    out: Annotated[str, typer.Option("--out", help="Folder for the translated vector.")],
    from_: Annotated[
        str | None,
        typer.Option("--from", help="The model that it was made for. [default: as the vector names it]"),
    ] = None,
    words_per_document: WordsPerDocument = None,
    layers: Annotated[
        str,
        typer.Option("--layers", help="Layers of --to to try, such as 2,3, or auto: equal relative depth."),
    ] = "auto",
    prompt: Annotated[
        list[str] | None,
        typer.Option(
            "--prompt",
            metavar="TEXT",
            help="Where the vector acts; the map is best there. May be repeated. [default: as it was made]",
        ),
    ] = None,
    near: Annotated[
        bool, typer.Option("--near/--all-text", help="A map best near the prompts, or one for all text.")
    ] = True,
    dipole: DipoleFile = None,
    claim: Claim = None,
    against: Against = None,
    n: Annotated[int, typer.Option("-n", help="Pairs of completions to measure the effect by.")] = 48,
    max_tokens: Annotated[int, typer.Option("--max-tokens", help="Tokens of a text that are read.")] = 512,
    batch_size: Annotated[int, typer.Option("--batch-size", help="Rows a forward.")] = 32,
    seed: Annotated[int, typer.Option("--seed", help="Seed of nulls and completions.")] = 0,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Translate a steering vector to another model by a linear map (stitching).

    With a dipole the result is measured beside the target's own vector and nulls.
    """
    flags = dict(locals())
    from dipole.cli._translating import perform

    perform(flags)
