"""`dipole fit`: fit one control to a dipole, and keep the intervention."""

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


def fit(
    control: Annotated[
        str,
        typer.Argument(
            metavar="CONTROL",
            help="One of `dipole controls`; `dipole fit CONTROL --help` lists its own flags.",
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="Folder for the intervention.")],
    dipole: DipoleFile = None,
    claim: Claim = None,
    against: Against = None,
    prompt: Prompts = None,
    held_out: HeldOut = None,
    model: Model = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    overwrite: Overwrite = False,
    json: Json = False,
    quiet: Quiet = False,
    fields: Any = None,
) -> int:
    """Fit a control to a dipole, for `generate` and `compare`."""
    flags = dict(locals())
    from dipole.cli._fitting import perform

    return perform(flags)
