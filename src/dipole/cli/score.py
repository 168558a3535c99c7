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
from dipole.shown.terminal import one_line
from dipole.types import Score


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
    if not json and sys.stdout.isatty():
        emit("log-odds  probability  text")
    number = 0
    with counted("texts scored") as on_more:
        for batch in batches:
            for text, found in zip(batch, made.score(batch, concept), strict=True):
                number += 1
                _print(text, found, number, json)
            flush_output()  # who reads sees each batch when it is done
            on_more(len(batch))


def _print(text: str, found: Score, number: int, as_json: bool) -> None:
    if as_json:
        record = {"text": text, "log_odds": found.value, "probability": found.probability}
        emit_json(record | ({"reason": found.reason} if found.reason else {}))
        return
    emit(_row(text, found))
    if found.reason:
        tell(f"dipole: warning: text {number}: {found.reason}")


def _row(text: str, found: Score) -> str:
    value, probability = (
        (f"{found.value:+.3f}", f"{found.probability:.4f}") if found.is_scored else ("n/a", "n/a")
    )
    return f"{value:>8}  {probability:>11}  {one_line(text)}"
