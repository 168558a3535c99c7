"""What an inoculation needs, from the flags, or from the folder of a run that is continued."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dipole.cli._concept import bystanders_from, dipole_from
from dipole.cli._console import flag
from dipole.cli._flags import Texts
from dipole.cli._groups import JudgedSource, Wanted
from dipole.cli._named import made_control
from dipole.concepts import Dipole, Mentions, load_dipole
from dipole.registry import TRAINED
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.controls.weights.settings import Trained

# What a run remembers of its flags in its manifest, and what they are when left out.
DEFAULTS: dict[str, Any] = {
    "n": 128,
    "bystanders": None,
    "dtype": None,
    "device": None,
    "special_tokens": None,
    "plain": None,
}
_LOADED = ("dtype", "device", "special_tokens", "plain")
Words = Annotated[list[str] | None, typer.Option(metavar="WORD")]


@dataclass(frozen=True, kw_only=True)
class Training:
    """The flags of an inoculation.

    Attributes:
        out: Folder for the adapter, the report and all else.
        claim: The statement that is wanted.
        against: Its opposite.
        prompt: To train on. May be repeated.
        held_out: A wording to measure on, never trained on. May be repeated.
        mention_claim: A word of the claim's side. May be repeated.
        mention_against: A word of the other side. May be repeated.
        control: What trains: a control of the weights; `dipole inoculate --control NAME --help` lists its
            flags. [default: grpo]
        dipole: A dipole file (TOML; FILE:NAME of several), or a ready one by name; see `dipole dipoles`.
        overwrite: Replace the run in the folder.
        resume: Continue the run in the folder, with the settings that it has.
        n: Completions to measure, each. [default: 128]
        vary: Train on other wordings too where there is one prompt that names both sides.
        bystanders: Dipoles that should not move: an arsenal's file or name, or none. [default: ready ones]
        json: Print effect.json, on one line, in place of the summary.
        quiet: No progress on standard error.
    """

    out: str
    claim: Annotated[str | None, typer.Argument(metavar="CLAIM")] = None
    against: str | None = None
    prompt: Texts = None
    held_out: Texts = None
    mention_claim: Words = None
    mention_against: Words = None
    control: str | None = None
    dipole: str | None = None
    source: JudgedSource
    overwrite: bool = False
    resume: bool = False
    n: Annotated[int | None, typer.Option(min=1)] = None
    vary: Annotated[bool, typer.Option("--vary/--no-vary")] = True
    bystanders: str | None = None
    json: bool = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class Job:
    """An inoculation as asked for.

    Attributes:
        dipole: What is wanted.
        control: How to fit.
        bystanders: What to watch.
        source: The model, and the judge.
        settings: The flags named in `DEFAULTS`.
        command: The command line that reproduces it.
    """

    dipole: Dipole
    control: Trained
    bystanders: Sequence[Dipole]
    source: JudgedSource
    settings: Mapping[str, Any]
    command: Sequence[str]


def new_job(flags: Training) -> Job:
    """The job that the flags describe."""
    model = flags.source.name()
    mentions = Mentions(tuple(flags.mention_claim or ()), tuple(flags.mention_against or ()))
    dipole = dipole_from(_wanted(flags), model, mentions)
    control = made_control(flags.control or TRAINED, flags.fields)
    given = {"n": flags.n, "bystanders": flags.bystanders, **vars(flags.source)}
    settings = {name: default if given[name] is None else given[name] for name, default in DEFAULTS.items()}
    watched = bystanders_from(settings["bystanders"], model)
    return Job(dipole, control, watched, replace(flags.source, model=model), settings, sys.argv)


def _wanted(flags: Training) -> Wanted:
    names = ("dipole", "claim", "against", "prompt", "held_out")
    return Wanted(**{name: getattr(flags, name) for name in names})


def resumed_job(flags: Training, out: Path) -> Job:
    """The job of the run in `out`; flags that say something else are refused."""
    from dipole.runs.inoculating import resume_settings

    facts = resume_settings(out)
    try:
        dipole = Dipole.from_dict(facts["concept"], str(out / "manifest.json"))
        control = made_control(facts["control"]["name"], facts["control"]["fields"])
        _refuse_unnamed(flags, facts["control"]["fields"].get("reward"), out)
        model, judge = facts["model"], facts.get("judge") or {}
        settings = {**DEFAULTS, **facts.get("settings", {})}
        command = _words(facts["command"], out)
        _refuse_conflicts(flags, _told(dipole, facts, settings), out)
        named = {"model": model["name"], "revision": model.get("revision"), "judge": judge.get("name")}
    except (TypeError, AttributeError, KeyError) as error:
        raise UserError(
            f"The manifest in {out} is not one that can be continued ({error}); start again."
        ) from error
    if flags.source.device is not None:
        settings["device"] = flags.source.device
    source = replace(flags.source, **named, **{name: settings[name] for name in _LOADED})
    watched = bystanders_from(settings["bystanders"], source.name())
    return Job(dipole, control, watched, source, settings, command)


def _refuse_unnamed(flags: Training, reward: object, out: Path) -> None:
    """Import no function that only a file names."""
    if isinstance(reward, str) and ":" in reward and flags.fields.get("reward") is None:
        raise UserError(
            f"The run in {out} has the Python function {reward!r} as its reward, which is imported only "
            "where you name it; give --reward with it once more."
        )


def _words(command: str, out: Path) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise UserError(
            f"The command in the manifest of {out} is none ({error}); start again in another folder."
        ) from None


def _told(dipole: Dipole, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What each flag would have to say to agree with the run."""
    return {
        "control": facts["control"]["name"],
        "claim": dipole.claim,
        "against": dipole.against,
        "dipole": dipole,
        "prompt": list(dipole.prompts),
        "held_out": list(dipole.held_out),
        "mention_claim": list(dipole.mentions.claim),
        "mention_against": list(dipole.mentions.against),
        "model": facts["model"]["name"],
        "revision": facts["model"].get("revision"),
        "judge": (facts.get("judge") or {}).get("name"),
        **{name: settings[name] for name in DEFAULTS if name != "device"},
        **facts["control"]["fields"],
    }


def _refuse_conflicts(flags: Training, told: Mapping[str, Any], out: Path) -> None:
    given = {**vars(flags), **vars(flags.source), **flags.fields}
    if other := sorted(set(flags.fields) - set(told)):
        raise UserError(
            f"With --resume {flag(other[0])} can't be given: the run in {out} is one of {told['control']}, "
            "which has no such setting."
        )
    if given["dipole"] is not None:
        given["dipole"] = load_dipole(given["dipole"])
    for name, wanted in told.items():
        if given.get(name) is not None and given[name] != wanted:
            named = "the claim" if name == "claim" else flag(name)
            shown = "another dipole" if name == "dipole" else repr(wanted)
            raise UserError(
                f"With --resume {named} can't change: the run in {out} has {shown}. Leave the flag out, or "
                "start again in another folder."
            )
