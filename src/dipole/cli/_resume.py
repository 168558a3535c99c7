"""What an inoculation needs, from the folder of a run that is continued."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dipole.cli._control import made_control
from dipole.cli._job import DEFAULTS, Job, bystanders_from
from dipole.concepts import Dipole, load_dipole
from dipole.types import UserError


def resumed_job(flags: Mapping[str, Any], out: Path) -> Job:
    """The job of the run in `out`; flags that say something else are refused."""
    from dipole.inoculate import resume_settings

    facts = resume_settings(out)
    try:
        dipole = Dipole.from_dict(facts["concept"], str(out / "manifest.json"))
        control = made_control(facts["control"]["name"], facts["control"]["fields"])
        model, judge = facts["model"], facts.get("judge") or {}
        settings = {**DEFAULTS, **facts.get("settings", {})}
        command = _words(facts["command"], out)
        _refuse_conflicts(flags, _told(dipole, facts, settings), out)
        source = (model["name"], model.get("revision"), judge.get("name"))
    except (TypeError, AttributeError, KeyError) as error:
        raise UserError(
            f"The manifest in {out} is not one that can be continued ({error}); start again."
        ) from error
    if flags["device"] is not None:
        settings["device"] = flags["device"]
    return Job(
        dipole, control, bystanders_from(settings["bystanders"], source[0]), *source, settings, command
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


def _refuse_conflicts(flags: Mapping[str, Any], told: Mapping[str, Any], out: Path) -> None:
    given = {**flags, **flags["fields"]}
    if other := sorted(set(flags["fields"]) - set(told)):
        raise UserError(
            f"With --resume --{other[0].replace('_', '-')} can't be given: the run in {out} is one of "
            f"{told['control']}, which has no such setting."
        )
    if given["dipole"] is not None:
        given["dipole"] = load_dipole(given["dipole"])
    for name, wanted in told.items():
        if given.get(name) is not None and given[name] != wanted:
            flag = "the claim" if name == "claim" else f"--{name.replace('_', '-')}"
            shown = "another dipole" if name == "dipole" else repr(wanted)
            raise UserError(
                f"With --resume {flag} can't change: the run in {out} has {shown}. Leave the flag out, or "
                "start again in another folder."
            )
