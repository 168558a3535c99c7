"""What the prompts of a dipole do to a model, found in its first seconds: more of them, and remarks."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from dipole.concepts import Dipole
from dipole.concepts.text import same_text
from dipole.concepts.wordings import wordings
from dipole.progress import Progress, silent
from dipole.protocols import LM
from dipole.reading.choice import Choice, forced_share

_DRAWN = 128  # completions in all
_LEAST = 8  # of a prompt
_FORCED = 0.25


class Prepared(NamedTuple):
    """A dipole with what a model makes of its prompts.

    Attributes:
        dipole: With further prompts, where there was but one.
        notes: Sentences for the user.
    """

    dipole: Dipole
    notes: tuple[str, ...]


def prepared(
    lm: LM, dipole: Dipole, max_new_tokens: int, seed: int, vary: bool = True, progress: Progress = silent
) -> Prepared:
    """Add other wordings of a lone prompt, and see which prompts make the model take a side.

    Of the other wordings those stay behind which at least a quarter of the completions take a side.

    Args:
        lm: The LM before.
        dipole: With words for its sides; one without is left as it is, since nothing would be told.
        max_new_tokens: Token budget of a completion.
        seed: Of the completions.
        vary: Whether to add other wordings.
        progress: Told of it.

    Raises:
        UserError: A prompt does not fit.
    """
    if not (dipole.mentions.claim and dipole.mentions.against) or not dipole.prompts:
        return Prepared(dipole, ())
    more: tuple[str, ...] = ()
    if vary and len(dipole.prompts) == 1:
        kept_back = {same_text(text) for text in dipole.held_out}
        found = wordings(dipole.prompts[0], dipole.mentions, lm.resident.chat)
        more = tuple(text for text in found if same_text(text) not in kept_back)
    texts = [*dipole.prompts, *more, *dipole.held_out]
    progress("seeing which prompts force the choice")
    seen = forced_share(lm, dipole, texts, max(_LEAST, _DRAWN // len(texts)), max_new_tokens, seed)
    forced = {choice.prompt: choice for choice in seen}
    kept = tuple(text for text in more if forced[text].forced >= _FORCED)
    notes = [_added(kept)] if kept else []
    notes += _loose(dipole, forced)
    return Prepared(replace(dipole, prompts=(*dipole.prompts, *kept)), tuple(notes))


def _added(kept: tuple[str, ...]) -> str:
    shown = "; ".join(repr(text) for text in kept)
    return f"Trained on {len(kept)} other wordings of the one prompt too: {shown}."


def _loose(dipole: Dipole, forced: dict[str, Choice]) -> list[str]:
    """Prompts of the user after which few completions take a side."""
    found = []
    for kind, texts in (("trained on", dipole.prompts), ("measured on", dipole.held_out)):
        loose = [forced[text] for text in texts if forced[text].forced < _FORCED]
        if loose:
            worst = min(loose, key=lambda choice: choice.forced)
            found.append(
                f"{len(loose)} of {len(texts)} prompts that are {kind} do not force the choice: after "
                f"{worst.prompt!r} the model names either side in {worst.claim + worst.against} of {worst.n} "
                "completions. Take prompts that leave it no other way to go on."
            )
    return found
