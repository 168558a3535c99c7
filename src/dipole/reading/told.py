"""How far a steered model does what the same model does when it is told to: no recognizer takes part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.interventions.prompt import Prefix
from dipole.protocols import LM, Poles
from dipole.reading.pairs import CHAT_WORDINGS, sentence
from dipole.resident import Resident
from dipole.types import Sample, sample_seed, scored_text

_ASKED = "What do you think? Say it in one sentence."


class Told(NamedTuple):
    """Completions of a model told the claim, and told its opposite.

    Attributes:
        prompts: What was asked, without what the model was told.
        seeds: Of each completion; both sides draw from the same random numbers.
        claim: What followed when the claim stood in front.
        against: The same with the opposite.
    """

    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    claim: tuple[Sample, ...]
    against: tuple[Sample, ...]

    def texts(self, side: Sequence[Sample]) -> list[str]:
        """What was asked and answered on one side, the pole left out."""
        return [scored_text(sample) for sample in side]


def spread(prompts: Sequence[str], n: int, seed: int) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """N prompts, each in turn, and a seed for each; the k-th time that a prompt comes has its k-th seed."""
    places = [divmod(i, len(prompts)) for i in range(n)]
    return tuple(prompts[i] for _, i in places), tuple(sample_seed(seed, i, k) for k, i in places)


def wording_for(resident: Resident) -> str:
    """How a statement is put to a model: as it is in front of a prompt, or as a view where it reads chats."""
    return CHAT_WORDINGS[0] if resident.chat else "{pole}"


def told_by(lm: LM, statement: str) -> LM:
    """The LM told a statement: in front of the prompt, or as a directive where it reads chats."""
    return lm.with_intervention(Prefix(wording_for(lm.resident).replace("{pole}", statement)), 1.0)


def tell(lm: LM, dipole: Poles, prompts: Sequence[str], n: int, max_new_tokens: int, seed: int) -> Told:
    """Have the LM write n completions under each pole, spread over the prompts."""
    asked, seeds = spread(prompts, n, seed)
    sides = [
        tuple(told_by(lm, sentence(pole)).sample(asked, seeds, max_new_tokens))
        for pole in (dipole.claim, dipole.against)
    ]
    return Told(asked, seeds, sides[0], sides[1])


def opinions(
    lm: LM, dipole: Poles, n: int, max_new_tokens: int, seed: int
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """What the LM goes on with behind the claim alone, and behind its opposite, n times each.

    Or, where it reads chats, what it answers when it is told either and asked what it thinks. No prompt names
    the sides here, so it shows what the model says of them also where it does not do as it is told; both
    sides draw from the same random numbers.
    """
    seeds, asked = [sample_seed(seed, 0, k) for k in range(n)], _ASKED if lm.resident.chat else ""
    claim, against = (
        tuple(told_by(lm, sentence(pole)).sample([asked] * n, seeds, max_new_tokens))
        for pole in (dipole.claim, dipole.against)
    )
    return claim, against


def leanings(lm: LM, told: Told) -> Tensor:
    """For each prompt how much likelier the LM makes what the claim's side wrote than what the other wrote.

    Returns:
        `(n,)` float64 difference of log-likelihoods, nats.
    """
    prefixes = [lm.prompt_ids(prompt) for prompt in told.prompts]
    found = lm.logprobs([*prefixes, *prefixes], [s.token_ids for s in (*told.claim, *told.against)])
    sums = torch.stack([row.double().sum() for row in found])
    return sums[: len(prefixes)] - sums[len(prefixes) :]


def preference(leaning: Tensor) -> float:
    """Mean probability of the claim's side of each pair (Bradley-Terry): 0.5 where it takes neither."""
    return float(leaning.sigmoid().mean())
