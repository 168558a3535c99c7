"""FUDGE: future discriminators for generation, with a probe on the model's own states."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from dipole.controls._dial import Weighed
from dipole.controls.layers import check_layers, layers_of
from dipole.controls.selection import split_prompts
from dipole.interventions.fudge import Fudge as Intervention
from dipole.interventions.logits import made_for
from dipole.probing.logistic import logistic
from dipole.protocols import Poles
from dipole.reading.beginnings import Row, beginnings
from dipole.reading.sides import sided
from dipole.reading.told import tell
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


class Found(NamedTuple):
    """A probe of beginnings.

    Attributes:
        layer: Block whose output it reads.
        weight: `(2 * width,)` float64.
        bias: Nats.
        facts: Its loss on prompts that it was not fitted on, in nats a beginning, for each layer tried.
    """

    layer: int
    weight: Tensor
    bias: float
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Fudge(Weighed[Intervention]):
    """Weigh each likely next token by how much a probe makes of the text with it as the claim's.

    The probe is fitted on beginnings of what the model writes when told the claim and when told its opposite,
    read without either; each text is for the side that it names first, where the dipole has words for both. A
    token costs one row of the model up to the probe's layer for each candidate.

    Attributes:
        layers: Layers to try, numbers with commas; `auto` spreads `max_layers` over the model.
        max_layers: How many `auto` tries.
        candidates: Most next tokens that are weighed; the others are not said.
        mass: Share of the probability that the candidates must have together, so that there are fewer where
            the model is sure; 1 takes all.
        texts: Continuations a prompt and statement that the probe is fitted on.
        weights: Exponents of the probe's probability to try, with commas.
    """

    layers: str = "auto"
    max_layers: int = 4
    candidates: int = 20
    mass: float = 0.99
    texts: int = 4
    weights: str = "0.5,1,2,4"

    name: ClassVar[str] = "fudge"
    makes: ClassVar[type[Intervention]] = Intervention
    paper: ClassVar[str] = "Yang 2021, arXiv:2104.05218"
    counts: ClassVar[tuple[str, ...]] = ("max_layers", "candidates", "texts")

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        check_layers(self.layers)
        if not 0 < self.mass <= 1:
            raise UserError(f"mass must be above 0 and at most 1, and is {self.mass}.")

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Intervention]:
        """The probe of the layer that predicts best on prompts that it was not fitted on.

        Raises:
            UserError: There is no such layer.
        """
        found = self._probe(lm, dipole)

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            return Intervention(
                found.layer,
                found.weight.float(),
                torch.tensor(found.bias),
                self.candidates,
                mass=self.mass,
                power=weight,
                facts={**found.facts, **facts},
                **made_for(lm),
            )

        return make

    def _probe(self, lm: LM, dipole: Poles) -> Found:
        """Fitted on half of the prompts, the layer chosen on the others."""
        layers = layers_of(self.layers, lm, self.max_layers)
        prompts, others = split_prompts(dipole)
        x, y = self._examples(lm, dipole, prompts, layers, self.seed)
        tried = [logistic(x[:, k], y, standardise=True) for k in range(len(layers))]
        x, y = self._examples(lm, dipole, others, layers, self.seed + 1)
        losses = [
            float(binary_cross_entropy_with_logits(x[:, k].double() @ weight + bias, y))
            for k, (weight, bias) in enumerate(tried)
        ]
        best = min(range(len(layers)), key=losses.__getitem__)
        facts = {"probe": {"layer": layers[best], "losses": dict(zip(map(str, layers), losses, strict=True))}}
        return Found(layers[best], *tried[best], facts)

    def _examples(
        self, lm: LM, dipole: Poles, prompts: Sequence[str], layers: Sequence[int], seed: int
    ) -> tuple[Tensor, Tensor]:
        """Features of beginnings `(n, layers, 2 * width)`; 1 for those of texts for the claim, else 0."""
        told = tell(lm, dipole, prompts, self.texts * len(prompts), self.max_new_tokens, seed)
        ends = lm.resident.eos_ids
        rows, labels = [], []
        for sample, claim in sided(dipole, told):
            ids = lm.prompt_ids(sample.prompt)
            rows.append(Row([*ids, *(t for t in sample.token_ids if t not in ends)], len(ids)))
            labels.append(float(claim))
        found = beginnings(lm, rows, layers)
        return found.features, torch.tensor(labels, dtype=torch.float64)[found.owners]
