"""Semantic boost: an addition to the logits of every word by how near its meaning is to some words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dipole.controls._dial import Weighed
from dipole.controls._words import Bags, bags_of
from dipole.controls.selection import split_prompts
from dipole.decoding.logit_maths import nearness
from dipole.interventions.logits import Boost as Intervention
from dipole.interventions.logits import made_for
from dipole.protocols import Poles

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class Semantic(Weighed[Intervention]):
    """Make words likelier by how near their embeddings are to the words of the claim.

    The logit of each token rises by weight * max(0, cosine) with the nearest of the claim's words, and falls
    by the same for the other side's. Departures from the paper (K2T): the model's own input embeddings stand
    in for GloVe, less their mean; the weight is constant, where K2T raises it towards a deadline by which the
    word must have been said; and there are words on two sides.

    Attributes:
        words: Words of the claim: a list with commas, or a file with one a line; by default derived.
        against_words: Words of the other side, in the same form.
        count: Tokens a side to derive at most.
        center: Subtract the mean embedding before taking cosines.
        weights: Weights in nats to try, with commas.
    """

    words: str = ""
    against_words: str = ""
    count: int = 4
    center: bool = True
    weights: str = "1,2,3,4,6,8"

    name: ClassVar[str] = "semantic"
    makes: ClassVar[type[Intervention]] = Intervention
    paper: ClassVar[str] = "Pascual 2021 (K2T), arXiv:2109.09707"
    counts: ClassVar[tuple[str, ...]] = ("count",)

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Intervention]:
        """The words that mean something near to those of either side.

        Raises:
            UserError: No word is usable.
        """
        prompts, _ = split_prompts(dipole)
        bags = bags_of(lm, dipole, self.words, self.against_words, self.count, prompts, whole=False)
        near = two_sided(lm.resident.model.get_input_embeddings().weight, bags, self.center).cpu()
        near = near[: lm.resident.written]  # rows that no token has mean nothing
        tokens = near.nonzero().flatten()

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            told = {**bags.facts(lm.resident), "weight": weight, **facts}
            return Intervention(tokens, near[tokens] * weight, facts=told, **made_for(lm))

        return make


@torch.no_grad()
def two_sided(embeddings: Tensor, bags: Bags, center: bool) -> Tensor:
    """Nearness to the claim's tokens less nearness to the other side's, `(vocab,)` from -1 to 1."""
    near = torch.zeros(len(embeddings), device=embeddings.device)
    for sign, bag in ((1.0, bags.claim), (-1.0, bags.against)):
        if bag:
            near += sign * nearness(embeddings, torch.tensor(bag), center)
    return near
