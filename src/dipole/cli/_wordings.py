"""The prompts and mentions of a dipole, from the flags or from a ready one."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dipole.cli._concept import ARSENALS, concept_from
from dipole.cli._console import tell
from dipole.concepts import Dipole, Mentions, load_arsenal
from dipole.types import DipoleWarning, UserError


def dipole_from(flags: Mapping[str, Any], need_prompts: bool = True) -> Dipole:
    """The dipole that a command's `--dipole`, or `--claim`, `--against` and what goes with them, describe."""
    dipole = concept_from(flags["claim"], flags["against"], flags["dipole"])
    wordings = (flags["prompt"] or (), flags["held_out"] or ())
    return with_wordings(dipole, *wordings, Mentions(), flags["model"] or "tiny", need_prompts)


def with_wordings(
    dipole: Dipole,
    prompts: Sequence[str],
    held_out: Sequence[str],
    mentions: Mentions,
    model: str,
    need_prompts: bool = True,
) -> Dipole:
    """The dipole with the prompts and mentions of the flags, which stand in place of its own.

    A claim and its opposite that are those of a ready dipole, with prompts of its own or none, take over
    its other wordings and its mentions; standard error says so.
    """
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


def _distinct(prompts: Sequence[str]) -> list[str]:
    distinct = list(dict.fromkeys(prompts))
    if len(distinct) < len(prompts):
        warnings.warn("A prompt was given more than once; it counts once.", DipoleWarning, stacklevel=2)
    return distinct


def _ready(dipole: Dipole, prompts: Sequence[str], model: str) -> Dipole | None:
    from dipole.models.load import BUNDLED

    names = ARSENALS if model in BUNDLED else ARSENALS[::-1]
    for ready in (d for name in names for one in load_arsenal(name) for d in (one, one.swapped())):
        known = {*ready.prompts, *ready.held_out}
        if (ready.claim, ready.against) == (dipole.claim, dipole.against) and known.issuperset(prompts):
            return ready
    return None
