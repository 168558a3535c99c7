"""Classifier-free guidance: the model told the claim against the model told nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._dial import Weighed
from dipole.controls.contrast import check_template, told_with
from dipole.interventions.logits import Contrast as Intervention
from dipole.interventions.logits import made_for
from dipole.protocols import Poles

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class CFG(Weighed[Intervention]):
    """Go from the model told nothing towards, and beyond, the model told the claim.

    The guidance at strength 1 is the weight that was chosen: at 1 the model writes as if it had been told,
    beyond that more strongly so. Two streams of rows go through the model in one batch. Departure from the
    paper: the unconditional side reads the whole prompt without the claim, where the released code has it
    read the last token of the prompt alone, because here the condition is the claim and not the prompt.

    Attributes:
        template: What stands in front of a prompt, `{pole}` being the claim.
        weights: Guidance to try, with commas.
    """

    template: str = "{pole}"
    weights: str = "0.5,1,1.5,2,3"

    name: ClassVar[str] = "cfg"
    makes: ClassVar[type[Intervention]] = Intervention
    paper: ClassVar[str] = "Sanchez 2023, arXiv:2306.17806"

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        check_template(self.template)

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Intervention]:
        """Contrast with the model as it is."""
        told = told_with(self.template, dipole.claim)

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            return Intervention(told, "", weight, facts=facts, **made_for(lm))

        return make
