"""Bag-of-words boost: a fixed addition to the logits of some words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from dipole.controls._concept import require_dipole
from dipole.controls._dial import fitted_weight, numbers_of, require_positive
from dipole.controls._words import Bags, bags_of
from dipole.controls.selection import split_prompts
from dipole.interventions.logits import Boost as Intervention
from dipole.types import JudgedBy, Surface

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class Boost:
    """Make some words likelier, and others less likely, by a fixed addition to their logits.

    The words are given, or are the tokens that most tell the model told the claim from the model told its
    opposite where the choice is made. A word of several tokens counts by its first one.

    Attributes:
        words: Words to make likelier: a list with commas, or a file with one a line; by default derived.
        against_words: Words to make less likely, in the same form.
        count: Tokens a side to derive at most.
        weights: Additions in nats to try, with commas.
        n: Continuations to measure each by.
        max_new_tokens: Token budget of a continuation.
        seed: Seed of the continuations.
    """

    words: str = ""
    against_words: str = ""
    count: int = 4
    weights: str = "0.5,1,1.5,2,3,4"
    n: int = 32
    max_new_tokens: int = 28
    seed: int = 0

    name: ClassVar[str] = "boost"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "logits"
    makes: ClassVar[type[Intervention]] = Intervention
    graded: ClassVar[bool] = True
    paper: ClassVar[str] = "Ghazvininejad 2017 (Hafez)"
    optional_concept: ClassVar[bool] = False
    judged_by: ClassVar[JudgedBy] = JudgedBy(chosen=("velma",))

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_positive(self, "count", "n", "max_new_tokens")
        numbers_of(self.weights, "weights")

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Intervention:
        """The words with the addition that does best on the prompts for choosing.

        Raises:
            UserError: The concept is no dipole or has no prompts, or no word is usable.
        """
        dipole = require_dipole(self, concept)
        prompts, _ = split_prompts(dipole)
        bags = bags_of(lm, dipole, self.words, self.against_words, self.count, prompts, whole=False)

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            tokens, signs = signed(bags)
            told = {**bags.facts(lm.resident), "weight": weight, **facts}
            return Intervention(tokens, signs * weight, lm.resident.name, lm.resident.fingerprint, told)

        return fitted_weight(self, lm, dipole, make)


def signed(bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, and 1 for those of the claim and -1 for those against."""
    signs = [1.0] * len(bags.claim) + [-1.0] * len(bags.against)
    return torch.tensor([*bags.claim, *bags.against]), torch.tensor(signs)
