"""`dipole compare`: several controls, fitted to one dipole and measured alike."""

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


def compare(
    controls: Annotated[
        list[str],
        typer.Argument(metavar="CONTROL…", help="Names of controls, and folders of fitted interventions."),
    ],
    out: ReportFolder = None,
    dipole: DipoleFile = None,
    claim: Claim = None,
    against: Against = None,
    prompt: Prompts = None,
    held_out: HeldOut = None,
    strengths: Annotated[
        str | None,
        typer.Option("--strengths", help="A list such as -1,0.5,2 or a range such as -2..2; 7 by default."),
    ] = None,
    n: Completions = 128,
    repeats: Repeats = 1,
    seed: Seed = 0,
    max_new_tokens: MaxNewTokens = 28,
    bystanders: Annotated[
        str | None,
        typer.Option(
            "--bystanders",
            help="Dipoles that should not move: an arsenal's file or name, or none. [default: ready ones]",
        ),
    ] = None,
    null: Annotated[
        bool, typer.Option("--null/--no-null", help="Add random directions and words of the same size.")
    ] = True,
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
    """Fit controls to one dipole, and compare them at the same distance from the base."""
    flags: dict[str, Any] = dict(locals())
    from dipole.cli._comparing import perform
    from dipole.evaluation.families import compare_controls

    perform(flags, controls, compare_controls, null=null)
