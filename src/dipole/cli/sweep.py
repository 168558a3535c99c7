"""`dipole sweep`: one control at many strengths."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dipole.cli._flags import (
    Against,
    Claim,
    Device,
    DipoleFile,
    Dtype,
    HeldOut,
    Json,
    Model,
    Overwrite,
    Prompts,
    Quiet,
    Revision,
    SpecialTokens,
    Trust,
)
from dipole.cli._measuring import BatchSize, Completions, MaxNewTokens, Meters, Repeats, ReportFolder, Seed


def sweep(
    control: Annotated[
        str,
        typer.Argument(metavar="CONTROL", help="A control, or the folder of a fitted intervention."),
    ],
    strengths: Annotated[
        str, typer.Option("--strengths", help="A range such as -4..4, or a list such as -1,0,1.")
    ] = "-2..2",
    steps: Annotated[
        int | None, typer.Option("--steps", help="Strengths of a range, its ends included. [default: 9]")
    ] = None,
    out: ReportFolder = None,
    dipole: DipoleFile = None,
    claim: Claim = None,
    against: Against = None,
    prompt: Prompts = None,
    held_out: HeldOut = None,
    n: Completions = 128,
    repeats: Repeats = 1,
    seed: Seed = 0,
    max_new_tokens: MaxNewTokens = 28,
    bystanders: Annotated[
        str, typer.Option("--bystanders", help="Dipoles that should not move: an arsenal's file or name.")
    ] = "none",
    meter: Meters = None,
    model: Model = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    batch_size: BatchSize = 64,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure one control at many strengths: its dose-response curve."""
    flags: dict[str, Any] = dict(locals())
    from dipole.cli._comparing import perform
    from dipole.evaluation import families

    def one(lm: Any, dipole: Any, entries: Any, **options: Any) -> Any:
        return families.sweep(lm, dipole, entries[0], **options)

    perform(flags, [control], one)
