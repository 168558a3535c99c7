"""Contrast: what the model says told the claim, against what it says told the opposite."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.controls._dial import fitted_weight, numbers_of, require_positive
from dipole.interventions.logits import Contrast as Intervention
from dipole.types import JudgedBy, Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


def told_with(template: str, pole: str) -> str:
    """A statement in the words that put it to the model."""
    return template.replace("{pole}", pole)


def check_template(template: str) -> None:
    """Refuse a template without a place for the statement.

    Raises:
        UserError: It has none.
    """
    if "{pole}" not in template:
        raise UserError(
            f"template must hold {{pole}}, where the statement goes, and is {template!r}; write for example "
            "'I believe this: {pole}'."
        )


@dataclass(frozen=True)
class Contrast:
    """Add to the logits what the model told the claim says over the model told its opposite.

    Three streams of rows go through the model in one batch: the prompt, the prompt with the claim in front,
    and the prompt with the opposite in front.

    Attributes:
        template: What stands in front of a prompt, `{pole}` being the statement.
        weights: Weights of the difference to try, with commas.
        n: Continuations to measure each by.
        max_new_tokens: Token budget of a continuation.
        seed: Seed of the continuations.
    """

    template: str = "{pole}"
    weights: str = "1,2,4"
    n: int = 32
    max_new_tokens: int = 28
    seed: int = 0

    name: ClassVar[str] = "contrast"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "logits"
    makes: ClassVar[type[Intervention]] = Intervention
    graded: ClassVar[bool] = True
    paper: ClassVar[str] = "Liu 2021 (DExperts), arXiv:2105.03023, with one model told two things"
    optional_concept: ClassVar[bool] = False
    judged_by: ClassVar[JudgedBy] = JudgedBy(chosen=("velma",))

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_positive(self, "n", "max_new_tokens")
        numbers_of(self.weights, "weights")
        check_template(self.template)

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Intervention:
        """The contrast with the weight that does best on the prompts for choosing.

        Raises:
            UserError: The concept is no dipole or has no prompts, or they do not fit in the context.
        """
        dipole = require_dipole(self, concept)
        told, other = (told_with(self.template, pole) for pole in (dipole.claim, dipole.against))

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            return Intervention(told, other, weight, lm.resident.name, lm.resident.fingerprint, facts)

        return fitted_weight(self, lm, dipole, make)
