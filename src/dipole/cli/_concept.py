"""The dipoles that the flags describe."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from dipole.cli._console import tell
from dipole.cli._groups import Poles
from dipole.concepts import Avoid, Dipole, Mentions, load_arsenal, load_dipole
from dipole.concepts.avoid import is_avoid
from dipole.types import DipoleWarning, UserError


def poles_from(flags: Poles) -> Dipole:
    """The dipole of a claim and `--against`, or of `--dipole`.

    Raises:
        UserError: Both are given, or neither, or half, or the dipole is not valid.
    """
    claim, against = flags.claim, flags.against
    if flags.dipole is not None:
        if claim is not None or against is not None:
            raise UserError("Got both --dipole and a claim or --against; give one or the other.")
        return load_dipole(flags.dipole)
    if claim is None and against is None:
        raise UserError(
            "There is no dipole; give a claim and --against its opposite, or --dipole with a file or name."
        )
    if claim is None or against is None:
        have, lack = ("--against", "its claim") if claim is None else ("a claim", "--against, its opposite")
        raise UserError(f"Got {have} without {lack}; a dipole is a statement and its opposite.")
    return Dipole(claim, against)


def dipole_from(
    flags: Poles, model: str, mentions: Mentions | None = None, need_prompts: bool = True
) -> Dipole:
    """The dipole of the flags, whose prompts and mentions stand in place of its own.

    A claim and its opposite that are those of a ready dipole, with prompts of its own or none, take over
    its other wordings and its mentions; standard error says so.

    Args:
        flags: What was given.
        model: Name of the model, which tells what ready dipoles come first.
        mentions: Words of the two sides, where they were given.
        need_prompts: Refuse a dipole without prompts.
    """
    dipole, (prompts, held_out) = poles_from(flags), flags.wordings
    bare = not (dipole.prompts or dipole.held_out or dipole.mentions or held_out or mentions)
    if bare and (ready := _ready(dipole, prompts, model)):
        tell(f"dipole: this is the ready dipole {ready.name!r}; its mentions and held-out prompts are used.")
        dipole = ready
    own = [p for p in dipole.held_out if p not in prompts]
    found = replace(
        dipole,
        prompts=tuple(_distinct(prompts or dipole.prompts)),
        held_out=tuple(_distinct(held_out or own)),
        mentions=mentions or dipole.mentions,
    )
    if need_prompts and not found.prompts:
        raise UserError(
            "There is no prompt to train on; give --prompt, one that forces the choice, such as "
            '"If I had to choose between paper clips and staples, I\'d take".'
        )
    if any(not text.strip() for text in (*found.prompts, *found.held_out)):
        raise UserError("A prompt is blank; give one that forces the choice, or leave it out.")
    return found


def concept_from(flags: Poles, model: str, takes: Sequence[str]) -> Dipole | Avoid:
    """What the flags describe, for what takes such kinds: the dipole, or a file that says what to avoid.

    Args:
        flags: What was given; prompts stand in place of the concept's own.
        model: Name of the model, which tells what ready dipoles come first.
        takes: Kinds of concepts that may come out.
    """
    if "avoid" not in takes or flags.dipole is None or not is_avoid(flags.dipole):
        return dipole_from(flags, model, need_prompts=False)
    poles_from(flags)  # refuses what can't stand beside a file
    found, (prompts, held_out) = Avoid.load(flags.dipole), flags.wordings
    own = [p for p in found.held_out if p not in prompts]
    return replace(
        found,
        prompts=tuple(_distinct(prompts or found.prompts)),
        held_out=tuple(_distinct(held_out or own)),
    )


def ready_arsenal(model: str) -> str:
    """The ready arsenal that fits a model."""
    return _arsenals(model)[0]


def bystanders_from(spec: str | None, model: str) -> list[Dipole]:
    """The dipoles to watch: an arsenal's, none, or by default the ready ones for the model."""
    return [] if spec == "none" else list(load_arsenal(spec or _arsenals(model)[0]))


def _arsenals(model: str) -> tuple[str, str]:
    """The ready arsenals, the one that the model was trained for first."""
    from dipole.models.sources import BUNDLED

    return ("microworld", "general") if model in BUNDLED else ("general", "microworld")


def _distinct(prompts: Sequence[str]) -> list[str]:
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < len(prompts):
        warnings.warn("A prompt was given more than once; it counts once.", DipoleWarning, stacklevel=2)
    return distinct


def _ready(dipole: Dipole, prompts: Sequence[str], model: str) -> Dipole | None:
    arsenals = map(load_arsenal, _arsenals(model))
    for ready in (d for arsenal in arsenals for one in arsenal for d in (one, one.swapped())):
        known = {*ready.prompts, *ready.held_out}
        if (ready.claim, ready.against) == (dipole.claim, dipole.against) and known.issuperset(prompts):
            return ready
    return None
