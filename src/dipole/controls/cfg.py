"""Classifier-free guidance: the model told the claim against the model told nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.controls._dial import fitted_weight, numbers_of, require_positive
from dipole.controls.contrast import check_template, told_with
from dipole.interventions.logits import Contrast as Intervention
from dipole.types import JudgedBy, Surface

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class CFG:
    """Go from the model told nothing towards, and beyond, the model told the claim.

    The guidance at strength 1 is the weight that was chosen: at 1 the model writes as if it had been told,
    beyond that more strongly so. Two streams of rows go through the model in one batch. Departure from the
    paper: the unconditional side reads the whole prompt without the claim, where the released code has it
    read the last token of the prompt alone, because here the condition is the claim and not the prompt.

    Attributes:
        template: What stands in front of a prompt, `{pole}` being the claim.
        weights: Guidance to try, with commas.
        n: Continuations to measure each by.
        max_new_tokens: Token budget of a continuation.
        seed: Seed of the continuations.
    """

    template: str = "{pole}"
    weights: str = "0.5,1,1.5,2,3"
    n: int = 32
    max_new_tokens: int = 28
    seed: int = 0

    name: ClassVar[str] = "cfg"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "logits"
    makes: ClassVar[type[Intervention]] = Intervention
    graded: ClassVar[bool] = True
    paper: ClassVar[str] = "Sanchez 2023, arXiv:2306.17806"
    optional_concept: ClassVar[bool] = False
    judged_by: ClassVar[JudgedBy] = JudgedBy(chosen=("velma",))

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_positive(self, "n", "max_new_tokens")
        numbers_of(self.weights, "weights")
        check_template(self.template)

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Intervention:
        """The guidance that does best on the prompts for choosing.

        Raises:
            UserError: The concept is no dipole or has no prompts, or they do not fit in the context.
        """
        dipole = require_dipole(self, concept)
        told = told_with(self.template, dipole.claim)

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            return Intervention(told, "", weight, lm.resident.name, lm.resident.fingerprint, facts)

        return fitted_weight(self, lm, dipole, make)
