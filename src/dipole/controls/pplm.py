"""PPLM: plug and play language models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from dipole.controls._dial import Weighed
from dipole.controls._probe import fitted_probe
from dipole.controls._words import bags_of
from dipole.controls.selection import split_prompts
from dipole.interventions.logits import made_for
from dipole.interventions.pplm import MOST_STEPS
from dipole.interventions.pplm import Pplm as Intervention
from dipole.protocols import Poles
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class PPLM(Weighed[Intervention]):
    """Move the keys and values of past tokens by gradient until the model says what is wanted.

    Gradient steps are taken on the cache, towards words of the claim (`bag`) wherever they could stand, or at
    every token towards what a linear probe reads as the claim (`probe`). A token costs one forward more than
    plain writing, and steps * (forward + backward) where steps are taken.

    Attributes:
        attribute: `bag` for a bag of words, `probe` for a linear probe on mean final hidden states.
        words: Words of the claim, single tokens: a list with commas, or a file with one a line; by default
            derived.
        count: Tokens to derive at most.
        steps: Gradient steps a token (m).
        gamma: Exponent of the gradient's norm; 1 makes all steps equally long.
        gm: Share of the perturbed distribution in the geometric mean with the unperturbed one.
        kl_scale: Weight of the KL to the unperturbed distribution.
        window: Last positions that are moved; 0 is all.
        horizon: Steps ahead that a probe looks.
        plausible: How likely the words must be, as a share of the likeliest token, for steps to be taken; 0
            takes them at every token, as published.
        texts: Continuations a prompt and statement that a probe is fitted on.
        weights: Step sizes to try, with commas.
    """

    attribute: Literal["bag", "probe"] = "bag"
    words: str = ""
    count: int = 4
    steps: int = 10
    gamma: float = 1.5
    gm: float = 0.9
    kl_scale: float = 0.01
    window: int = 0
    horizon: int = 1
    plausible: float = 0.1
    texts: int = 4
    weights: str = "0.01,0.03,0.1,0.2,0.3"

    name: ClassVar[str] = "pplm"
    makes: ClassVar[type[Intervention]] = Intervention
    paper: ClassVar[str] = "Dathathri 2020, arXiv:1912.02164"
    counts: ClassVar[tuple[str, ...]] = ("count", "steps", "texts")

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        if self.attribute not in ("bag", "probe"):
            raise UserError(f"attribute must be bag or probe, and is {self.attribute!r}.")
        for name in ("window", "horizon", "gamma", "kl_scale"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise UserError(f"{name} must be 0 or more and finite, and is {getattr(self, name)}.")
        for name in ("steps", "horizon"):
            if getattr(self, name) > MOST_STEPS:
                raise UserError(f"{name} must be at most {MOST_STEPS}, and is {getattr(self, name)}.")
        for name in ("gm", "plausible"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} must be from 0 to 1, and is {getattr(self, name)}.")

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Intervention]:
        """The bag or the probe.

        Raises:
            UserError: No word is usable, or the model keeps no keys and values.
        """
        bag, probe, bias, told = self._attribute(lm, dipole)

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            return Intervention(
                bag,
                probe,
                bias,
                weight,
                self.steps,
                self.gamma,
                self.gm,
                self.kl_scale,
                self.window,
                self.horizon,
                plausible=self.plausible,
                facts={**told, **facts},
                **made_for(lm),
            )

        return make

    def _attribute(
        self, lm: LM, dipole: Poles
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None, dict[str, Any]]:
        prompts, others = split_prompts(dipole)
        if self.attribute == "bag":
            bags = bags_of(lm, dipole, self.words, "", self.count, prompts, whole=True)
            return torch.tensor(bags.claim), None, None, {"words": bags.facts(lm.resident)["words"]}
        probe = fitted_probe(lm, dipole, prompts, others, self.texts, self.max_new_tokens, self.seed)
        accuracy = {"on_its_own_texts": probe.accuracy, "on_other_prompts": probe.elsewhere}
        return None, probe.weight, probe.bias, {"probe_accuracy": accuracy}
