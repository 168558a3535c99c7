"""Steering vectors: a direction between a claim and its opposite, added to the residual stream."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.controls._dial import numbers_of
from dipole.controls.layers import Method, OfLayers, accuracies
from dipole.controls.selection import Selection, choose, judges_of, select, split_prompts
from dipole.engaging.operators import Operator
from dipole.interventions.activations import SteeringVector
from dipole.protocols import JudgedBy, Poles
from dipole.reading.losses import loss_under, perplexity_ratio
from dipole.reading.pairs import read_pairs
from dipole.reading.sides import answers, names_both
from dipole.reading.told import Told, leanings, preference, tell
from dipole.types import Sample, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run

NO_SIDE = (
    "This operator takes no side: it changes how strongly a state leans, not which way, so it cannot push a "
    "torn model to the claim; use the operator add for that."
)
RULE = (
    "the smallest push that comes within 0.02 (and a tenth of the gain) of the best preference for what the "
    "model writes when told the claim over what it writes when told the opposite (mean of strength 1 and, "
    "the other way round, -1), among those whose completions have at most {ceiling:g} times the base's own "
    "perplexity under the base (geometric mean of both)"
)
Candidate = tuple[dict[str, Any], float, SteeringVector]
_OPERATORS = ("add", "piecewise", "project")
_SMALL = 0.1  # relative norm at which layers are compared
_SWEPT = 3  # at most so many layers at which scales are tried,
_NEAR = 0.3  # with at least this share of the best layer's pull


@dataclass(frozen=True)
class Vector(OfLayers):
    """Add the direction from the opposite to the claim to the activations of one layer.

    Where the dipole has words for both sides, the direction is that in which the model comes to answer
    prompts with the claim's rather than the other's, by its gradient, and layer and scale are chosen on
    other prompts by what completions name. Elsewhere activations are read where the choice is made (the last
    token of prompts, with the claim, and with its opposite, in several wordings in front), and layer and
    scale are those that move the model towards what it writes when it is told the claim. No recognizer that
    reads with a model takes part, so all of them judge the outcome from outside.

    Attributes:
        method: How the direction is found: gradient, mean-difference, pca (LAT with each pair's midpoint
            taken away), probe (the weights of a logistic regression), or auto (gradient for add where there
            are words for both sides, else mean-difference).
        scales: Norms of the vector to try, with commas, in units of the layer's median activation norm.
        operator: What is done with the vector: add, piecewise or project; the last two take no side.
        keep_norm: Rescale each changed state to the norm that it had.
        max_layers: How many layers auto tries, evenly spread.
        n: Continuations to measure each layer and scale by.
    """

    method: Method = "auto"
    scales: str = "0.05,0.1,0.15,0.2,0.3,0.4"
    operator: Operator = "add"
    keep_norm: bool = False
    max_layers: int = 8

    name: ClassVar[str] = "vector"
    paper: ClassVar[str] = (
        "Panickssery 2023 (CAA), arXiv:2312.06681; Zou 2023 (RepE), arXiv:2310.01405; Cao 2024 (BiPO), "
        "arXiv:2406.00045"
    )
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        numbers_of(self.scales, "scales")
        if self.operator not in _OPERATORS:
            raise UserError(
                f"operator must be one of {', '.join(_OPERATORS)}, and is {self.operator!r}; to take a "
                "direction out of every layer use the control ablate."
            )

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> SteeringVector:
        """The vector of the layer and scale that do best on the prompts for choosing.

        Raises:
            UserError: The concept is no dipole, has no prompts, or they do not fit in the context.
        """
        dipole = require_dipole(self, concept)
        prompts, choosing = split_prompts(dipole)
        found, made, read = self.read(lm, dipole, prompts, self.operator, self.keep_norm)
        told = self._told(lm.base, dipole, choosing)
        pulls = [_pull(lm, vector, told) for vector in made]
        candidates: list[Candidate] = [
            ({"layer": made[i].layers[0], "scale": scale}, scale, at_norm(made[i], scale))
            for scale in numbers_of(self.scales, "scales")
            for i in strongest(pulls)
        ]
        chosen = self._select(lm, dipole, candidates, told, choosing)
        # How well a direction tells pairs apart says nothing of one that was not read from pairs.
        unread = read["method"] == "gradient"
        accuracy = {} if unread else accuracies(found, read_pairs(lm, dipole, choosing, list(found)))
        facts: dict[str, Any] = {
            "judged_by": (judges_of(dipole) if names_both(dipole) else self.judged_by)._asdict(),
            **read,
            "layers": [
                {"layer": v.layers[0], "pull": pull, "pairwise_accuracy": accuracy.get(v.layers[0])}
                for v, pull in zip(made, pulls, strict=True)
            ],
            "selection": chosen.to_dict(),
        }
        if self.operator != "add":
            facts["limits"] = NO_SIDE
        best = next(vector for data, _, vector in candidates if data == chosen.best.candidate)
        return replace(best, facts=facts)

    def _told(self, lm: LM, dipole: Poles, prompts: Sequence[str]) -> Told:
        """What either side says: its name, or what the model writes when it is told its pole."""
        if names_both(dipole):
            return answers(lm, dipole, prompts)
        return tell(lm, dipole, prompts, self.n, self.max_new_tokens, self.seed)

    def _select(
        self, lm: LM, dipole: Poles, candidates: Sequence[Candidate], told: Told, prompts: Sequence[str]
    ) -> Selection:
        if names_both(dipole):
            applied = [(data, push, vector.apply) for data, push, vector in candidates]
            return select(lm, dipole, applied, prompts, self.n, self.max_new_tokens, self.seed)

        def written(by: LM) -> list[Sample]:
            return by.sample(told.prompts, told.seeds, self.max_new_tokens)

        own = loss_under(lm.base, written(lm))

        def measure(vector: SteeringVector) -> tuple[float, float]:
            sides = [vector.apply(lm, sign) for sign in (1.0, -1.0)]
            there, back = (preference(leanings(side, told)) for side in sides)
            ratios = [perplexity_ratio(lm.base, written(side), own) for side in sides]
            return (there + 1 - back) / 2, math.sqrt(ratios[0] * ratios[1])

        base = preference(leanings(lm, told))
        return choose(candidates, measure, base, prompts, RULE)


def strongest(pulls: Sequence[float]) -> list[int]:
    """Indices of the layers worth a sweep: the best and those near it, in their order."""
    best = sorted(range(len(pulls)), key=lambda i: -pulls[i])[:_SWEPT]
    return sorted(i for i in best if i == best[0] or pulls[i] >= _NEAR * pulls[best[0]] > 0)


def at_norm(vector: SteeringVector, relative: float) -> SteeringVector:
    """The vector with this norm, in units of its layer's median activation norm."""
    return vector.scaled(relative / vector.relative[0])


def _pull(lm: LM, vector: SteeringVector, told: Told) -> float:
    """Nats by which a small push moves the model to the claim's side, per unit of relative norm."""
    small = at_norm(vector, _SMALL)
    there, back = (float(leanings(small.apply(lm, sign), told).mean()) for sign in (1.0, -1.0))
    return (there - back) / (2 * _SMALL)
