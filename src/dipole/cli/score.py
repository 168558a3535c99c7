"""`dipole score`: how far texts lean towards a claim."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from dipole.cli._concept import concept_from
from dipole.cli._console import emit, emit_json, tell
from dipole.cli._flags import Device, DipoleFile, Dtype, Json, Revision, SpecialTokens, Trust
from dipole.cli._progress import counted
from dipole.cli._recognizer import is_fitted, load_fitted, load_recognizer
from dipole.cli._streams import flush_output
from dipole.cli._texts import batches_from


def score(
    texts: Annotated[
        list[str],
        typer.Argument(metavar="TEXT…", help="Texts; `-` reads them from standard input, one a line."),
    ],
    claim: Annotated[str | None, typer.Option("--claim", help="The statement.")] = None,
    against: Annotated[str | None, typer.Option("--against", help="Its opposite.")] = None,
    dipole: DipoleFile = None,
    recognizer: Annotated[
        str,
        typer.Option(
            "--recognizer",
            help="velma, embedding or nli; or a folder with a fitted one, as topics:3, which needs no claim.",
        ),
    ] = "velma",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "--judge", help="The LM that reads (velma): as for `generate`. [default: tiny]"
        ),
    ] = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    prior_correction: Annotated[
        bool,
        typer.Option("--prior-correction", help="Subtract what the statements score after nothing (velma)."),
    ] = False,
    json: Json = False,
) -> None:
    """Score texts: log-odds in nats, positive towards the claim (or topic), and the probability they mean."""
    source = (model, revision, dtype, device, trust_remote_code, special_tokens)
    batches = batches_from(texts)
    if is_fitted(recognizer):
        made, concept = load_fitted(recognizer, source, prior_correction, (claim, against, dipole)), None
    else:
        concept = concept_from(claim, against, dipole)
        made = load_recognizer(recognizer, source, prior_correction)
    from dipole.recognizers.score import HEADER
    from dipole.recognizers.score import score as score_texts

    if not json and sys.stdout.isatty():
        emit(HEADER)
    number = 0
    with counted("texts scored") as on_more:
        for batch in batches:
            found = score_texts(batch, concept, made)
            for row in found.to_dicts() if json else ():
                emit_json(row)
            for line, each in () if json else zip(found.lines(), found.scores, strict=True):
                number += 1
                emit(line)
                if each.reason:
                    tell(f"dipole: warning: text {number}: {each.reason}")
            flush_output()  # who reads sees each batch when it is done
            on_more(len(batch))
