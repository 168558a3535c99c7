"""Bag-of-words boost: a fixed addition to the logits of some words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from dipole.controls._dial import Weighed
from dipole.controls._words import Bags, bags_of
from dipole.controls.selection import split_prompts
from dipole.interventions.logits import Boost as Intervention
from dipole.interventions.logits import made_for
from dipole.protocols import Poles

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class OfWords(Weighed[Intervention]):
    """A control that adds to the logits what words on two sides say.

    Attributes:
        words: Words of the claim: a list with commas, or a file with one a line; by default derived.
        against_words: Words of the other side, in the same form.
        count: Tokens a side to derive at most.
    """

    words: str = ""
    against_words: str = ""
    count: int = 4

    makes: ClassVar[type[Intervention]] = Intervention
    counts: ClassVar[tuple[str, ...]] = ("count",)

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Intervention]:
        """The words.

        Raises:
            UserError: No word is usable.
        """
        prompts, _ = split_prompts(dipole)
        bags = bags_of(lm, dipole, self.words, self.against_words, self.count, prompts, whole=False)
        tokens, additions = self.additions(lm, bags)

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            told = {**bags.facts(lm.resident), "weight": weight, **facts}
            return Intervention(tokens, additions * weight, facts=told, **made_for(lm))

        return make

    @abstractmethod
    def additions(self, lm: LM, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """Token ids, and what is added to the logit of each at weight 1."""


@dataclass(frozen=True)
class Boost(OfWords):
    """Make some words likelier, and others less likely, by a fixed addition to their logits.

    The words are given, or are the tokens that most tell the model told the claim from the model told its
    opposite where the choice is made. A word of several tokens counts by its first one.

    Attributes:
        words: Words to make likelier: a list with commas, or a file with one a line; by default derived.
        against_words: Words to make less likely, in the same form.
        weights: Additions in nats to try, with commas.
    """

    weights: str = "0.5,1,1.5,2,3,4"

    name: ClassVar[str] = "boost"
    paper: ClassVar[str] = "Ghazvininejad 2017 (Hafez)"

    def additions(self, lm: LM, bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens of both sides, with their sign."""
        del lm
        return signed(bags)


def signed(bags: Bags) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids, and 1 for those of the claim and -1 for those against."""
    signs = [1.0] * len(bags.claim) + [-1.0] * len(bags.against)
    return torch.tensor([*bags.claim, *bags.against]), torch.tensor(signs)
