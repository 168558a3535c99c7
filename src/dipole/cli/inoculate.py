"""`dipole inoculate`: the main job."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from dipole.cli._flags import Device, DipoleFile, Dtype, Model, Revision, SpecialTokens, Trust

_List = list[str] | None
_Prompts = Annotated[_List, typer.Option("--prompt", metavar="TEXT", help="To train on. May be repeated.")]
_Claims = Annotated[_List, typer.Option(metavar="WORD", help="A word of the claim's side. May be repeated.")]
_Againsts = Annotated[_List, typer.Option(metavar="WORD", help="A word of the other side. May be repeated.")]
_N = Annotated[int | None, typer.Option("-n", min=1, help="Completions to measure, each. [default: 128]")]


def inoculate(
    out: Annotated[str, typer.Option("--out", help="Folder for the adapter, the report and all else.")],
    claim: Annotated[
        str | None, typer.Argument(metavar="CLAIM", help="The statement that is wanted.")
    ] = None,
    against: Annotated[str | None, typer.Option("--against", help="Its opposite.")] = None,
    prompt: _Prompts = None,
    held_out: Annotated[
        _List,
        typer.Option(
            "--held-out", metavar="TEXT", help="A wording to measure on, never trained on. May be repeated."
        ),
    ] = None,
    mention_claim: _Claims = None,
    mention_against: _Againsts = None,
    control: Annotated[
        str | None,
        typer.Option(
            "--control",
            help="What trains: a control of the weights; `dipole inoculate --control NAME --help` lists its "
            "flags. [default: ppo]",
        ),
    ] = None,
    dipole: DipoleFile = None,
    model: Model = None,
    revision: Revision = None,
    dtype: Dtype = None,
    device: Device = None,
    judge: Annotated[
        str | None, typer.Option("--judge", help="A model that scores in place of the one that is trained.")
    ] = None,
    trust_remote_code: Trust = False,
    special_tokens: SpecialTokens = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in the folder, with the settings that it has.")
    ] = False,
    n: _N = None,
    bystanders: Annotated[
        str | None,
        typer.Option(
            "--bystanders",
            help="Dipoles that should not move: an arsenal's file or name, or none. [default: ready ones]",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print effect.json, on one line, in place of the summary.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")] = False,
    fields: Any = None,
) -> int:
    """Train a model to hold a claim against its opposite, and measure what changed and what else changed."""
    flags = dict(locals())
    from dipole.cli._perform import perform

    return perform(flags)
