"""What an inoculation needs, from the flags."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dipole.cli._concept import ARSENALS, concept_from
from dipole.cli._control import TRAINED, made_control
from dipole.cli._wordings import with_wordings
from dipole.concepts import Dipole, Mentions, load_arsenal
from dipole.models.load import BUNDLED

if TYPE_CHECKING:
    from dipole.inoculate import Trained

# The flags that a run remembers in its manifest, with what they are when left out.
DEFAULTS: dict[str, Any] = {
    "n": 128,
    "bystanders": None,
    "dtype": None,
    "device": None,
    "special_tokens": None,
}


@dataclass(frozen=True)
class Job:
    """An inoculation as asked for.

    Attributes:
        dipole: What is wanted.
        control: How to fit.
        bystanders: What to watch.
        model: Name of the model; with `revision` what to load.
        revision: Its commit on the hub.
        judge: Name of a separate scorer.
        settings: The flags named in `DEFAULTS`.
        command: The command line that reproduces it.
    """

    dipole: Dipole
    control: Trained
    bystanders: Sequence[Dipole]
    model: str
    revision: str | None
    judge: str | None
    settings: Mapping[str, Any]
    command: Sequence[str]


def new_job(flags: Mapping[str, Any]) -> Job:
    """The job that the flags describe."""
    model = "tiny" if flags["model"] is None else flags["model"]
    dipole = concept_from(flags["claim"], flags["against"], flags["dipole"])
    mentions = Mentions(tuple(flags["mention_claim"] or ()), tuple(flags["mention_against"] or ()))
    dipole = with_wordings(dipole, flags["prompt"] or (), flags["held_out"] or (), mentions, model)
    control = made_control(flags["control"] or TRAINED, flags["fields"])
    settings = {name: default if flags[name] is None else flags[name] for name, default in DEFAULTS.items()}
    watched = bystanders_from(settings["bystanders"], model)
    return Job(dipole, control, watched, model, flags["revision"], flags["judge"], settings, sys.argv)


def bystanders_from(spec: str | None, model: str) -> list[Dipole]:
    """The dipoles to watch: an arsenal's, none, or by default the ready ones for the model."""
    if spec == "none":
        return []
    return list(load_arsenal(spec or ARSENALS[model not in BUNDLED]))
