"""Answers whose side is known, because they name it: what a prompt may go on with on either side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from dipole.concepts.mentions import first_side, spans
from dipole.protocols import LM, Poles
from dipole.reading.told import Told
from dipole.types import Sample


def forms(dipole: Poles) -> tuple[str, str]:
    """How either side is named: as its prompts name it most often, or else by its first mention.

    A mention stands for its plural and other spellings too, and a model is asked for the one that fits its
    prompts. Empty where the dipole has no words for that side.
    """
    sides = dipole.mentions.claim, dipole.mentions.against
    found: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for prompt in dipole.prompts:
        for span in spans(prompt, sides):
            found[span.side][prompt[span.start : span.end].lower()] += 1
    claim, against = (
        next(iter(counts.most_common(1)), (next(iter(words), ""), 0))[0]
        for counts, words in zip(found, sides, strict=True)
    )
    return claim, against


def names_both(dipole: Poles) -> bool:
    """Whether the dipole has words for both of its sides."""
    return bool(dipole.mentions.claim and dipole.mentions.against)


def takes_claim(dipole: Poles, text: str) -> bool | None:
    """Whether a text names the claim's side first; None where it names neither."""
    taken = first_side(text, (dipole.mentions.claim, dipole.mentions.against))
    return None if taken is None else taken == "claim"


class Sided(NamedTuple):
    """A completion whose side is known.

    Attributes:
        sample: The completion, with its prompt.
        claim: Whether it is for the claim.
    """

    sample: Sample
    claim: bool


def sided(dipole: Poles, told: Told) -> list[Sided]:
    """What was written, each for the side that it names first, whatever its writer was told.

    A small model hardly does as it is told, so that the pole is a poor label. Where the dipole has no words
    for its sides, or what was written names one of them only, each is for the pole that its writer was told.
    """
    texts = [Sided(s, claim) for side, claim in ((told.claim, True), (told.against, False)) for s in side]
    if not names_both(dipole):
        return texts
    taken = [(text.sample, takes_claim(dipole, text.sample.text)) for text in texts]
    named = [Sided(sample, side) for sample, side in taken if side is not None]
    return named if len({text.claim for text in named}) == 2 else texts


def answers(lm: LM, dipole: Poles, prompts: Sequence[str]) -> Told:
    """Each prompt answered by the name of either side and nothing else; it needs words for both sides.

    A text goes on with a blank and the name; a reply in a chat begins with the name, and with a capital.
    """

    def said(form: str) -> tuple[Sample, ...]:
        text = form[:1].upper() + form[1:] if lm.resident.chat else f" {form}"
        ids = tuple(lm.resident.continuation_ids(text))
        return tuple(Sample(prompt, text, (), ids, (), 0, "length") for prompt in prompts)

    claim, against = map(said, forms(dipole))
    return Told(tuple(prompts), (0,) * len(prompts), claim, against)
