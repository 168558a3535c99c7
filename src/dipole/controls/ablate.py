"""Directional ablation: take the direction between a claim and its opposite out of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from dipole.controls._concept import require_dipole
from dipole.controls.layers import OfLayers
from dipole.controls.selection import split_prompts
from dipole.interventions.activations import SteeringVector
from dipole.protocols import JudgedBy, Poles
from dipole.reading.told import tell
from dipole.registry import make_recognizer
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run

LIMITS = (
    "Ablation cannot push a torn model to the claim: it removes the direction in which claim and opposite "
    "differ, so it makes a model deaf to that difference. Where the middle between the two is not at 0, "
    "what is left leans to one side, which nobody chose. A negative strength makes each state lean more the "
    "way it leans already."
)
RULE = (
    "the layer whose direction, once removed, leaves the smallest gap between the model told the claim and "
    "told its opposite, among those that move the next-token distribution on the plain prompts by less than "
    "{most:g} nats (the smallest move where none does)"
)


@dataclass(frozen=True)
class Trial:
    """One layer's direction, ablated.

    Attributes:
        layer: Where it was read.
        gap: Mean VELMA probability of the claim in completions of the model told the claim, less that of the
            model told the opposite.
        kl: Mean KL divergence of the base's next-token distribution from the ablated one's, nats, on prompts
            without a pole in front.
    """

    layer: int
    gap: float
    kl: float


def mean_kl(base: Tensor, other: Tensor) -> float:
    """Mean of KL(base || other) over rows of logits `(rows, vocab)`, nats."""
    log_p, log_q = base.double().log_softmax(-1), other.double().log_softmax(-1)
    terms = log_p.exp() * (log_p - log_q)
    return float(terms.where(log_p.exp() > 0, 0.0).sum(-1).mean())  # a token that can't come adds nothing


def pick(trials: Sequence[Trial], most: float) -> int:
    """Index of the trial that the rule takes; see `RULE`."""
    gentle = [i for i, t in enumerate(trials) if t.kl < most]
    if gentle:
        return min(gentle, key=lambda i: abs(trials[i].gap))
    return min(range(len(trials)), key=lambda i: trials[i].kl)


@dataclass(frozen=True)
class Ablate(OfLayers):
    """Remove the direction between the claim and its opposite, so that the model no longer leans.

    The direction is read as the control vector reads it, and taken out of everything that is written to the
    residual stream, at every position. It cannot push a torn model to one side. The layer whose direction
    is taken is chosen on other prompts, as published: what the direction did must be gone, and what the
    model says otherwise must stay.

    Attributes:
        max_layers: How many layers auto tries, evenly spread.
        max_kl: Most that ablation may move the next-token distribution on plain prompts, nats.
        n: Continuations to measure each layer by, under each pole.
    """

    max_layers: int = 8
    max_kl: float = 0.1
    n: int = field(default=16, kw_only=True)

    name: ClassVar[str] = "ablate"
    paper: ClassVar[str] = "Arditi 2024, arXiv:2406.11717"
    judged_by: ClassVar[JudgedBy] = JudgedBy(chosen=("velma",))

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        if not (self.max_kl > 0 and math.isfinite(self.max_kl)):
            raise UserError(f"max_kl must be a number of nats above 0, and is {self.max_kl}.")

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> SteeringVector:
        """The direction of the layer that the rule takes.

        Raises:
            UserError: The concept is no dipole, has no prompts, or they do not fit in the context.
        """
        dipole = require_dipole(self, concept)
        prompts, choosing = split_prompts(dipole)
        _, made, read = self.read(lm, dipole, prompts, "ablate")
        trials, base_gap = self._tried(lm, dipole, made, choosing)
        chosen = pick(trials, self.max_kl)
        facts = {
            "judged_by": self.judged_by._asdict(),
            **read,
            "limits": LIMITS,
            "selection": {
                "chosen": chosen,
                "trials": [asdict(trial) for trial in trials],
                "base_gap": base_gap,
                "prompts": list(choosing),
                "rule": RULE.format(most=self.max_kl),
            },
        }
        return replace(made[chosen], facts=facts)

    def _tried(
        self, lm: LM, dipole: Poles, made: Sequence[SteeringVector], prompts: Sequence[str]
    ) -> tuple[list[Trial], float]:
        """Every layer's direction, ablated, and the gap without ablation."""

        def gap(of: LM) -> float:
            return told_gap(of, dipole, prompts, self.n, self.max_new_tokens, self.seed)

        base = _next_logits(lm, prompts)
        trials = []
        for vector in made:
            ablated = vector.apply(lm)
            moved = mean_kl(base, _next_logits(ablated, prompts))
            trials.append(Trial(vector.layers[0], gap(ablated), moved))
        return trials, gap(lm)


def told_gap(lm: LM, dipole: Poles, prompts: Sequence[str], n: int, max_new_tokens: int, seed: int) -> float:
    """How much likelier the LM takes the claim's side when told the claim than when told its opposite.

    Difference of mean VELMA probabilities of its completions, the pole in front left out; 0 to 1 where the
    model follows what it is told. Both sides draw from the same random numbers.
    """
    told = tell(lm, dipole, prompts, n, max_new_tokens, seed)
    judge = make_recognizer("velma", lm.base)
    means = []
    for side in (told.claim, told.against):
        known = [score.probability for score in judge.score(told.texts(side), dipole) if score.is_scored]
        means.append(sum(known) / len(known) if known else math.nan)
    return means[0] - means[1]


def _next_logits(lm: LM, prompts: Sequence[str]) -> Tensor:
    """Logits of the first new token after each prompt, `(prompts, vocab)`."""
    any_token = [[0]] * len(prompts)  # only the logits that predict it are looked at
    return torch.cat(lm.response_logits(prompts, any_token))
