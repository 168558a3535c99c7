"""Contrast: what the model says told the claim, against what it says told the opposite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._dial import Weighed
from dipole.interventions.logits import Contrast as Intervention
from dipole.interventions.logits import made_for
from dipole.protocols import Poles
from dipole.reading.told import wording_for
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


def told_with(lm: LM, template: str, pole: str) -> str:
    """A statement in the words that put it to the model: those given, or else those that it reads best."""
    return (template or wording_for(lm.resident)).replace("{pole}", pole)


def check_template(template: str) -> None:
    """Refuse a template without a place for the statement.

    Raises:
        UserError: It has none, and is not empty.
    """
    if template and "{pole}" not in template:
        raise UserError(
            f"template must hold {{pole}}, where the statement goes, and is {template!r}; write for example "
            "'I believe this: {pole}'."
        )


@dataclass(frozen=True)
class Contrast(Weighed[Intervention]):
    """Add to the logits what the model told the claim says over the model told its opposite.

    Three streams of rows go through the model in one batch: the prompt, the prompt with the claim in front,
    and the prompt with the opposite in front. For tokens that hardly any of them would say the difference is
    mostly noise, which a large weight brings up in a large vocabulary; `cut` leaves them out (Li 2022).

    Attributes:
        template: What stands in front of a prompt, `{pole}` being the statement; by default the bare
            statement, or a sentence that states it as a view where the model reads chats.
        cut: Keep tokens with at least this share of the likeliest under the model or under the side that is
            followed, such as 0.1; 0 keeps all, as published.
        weights: Weights of the difference to try, with commas.
    """

    template: str = ""
    cut: float = 0.0
    weights: str = "1,2,4,8"

    name: ClassVar[str] = "contrast"
    makes: ClassVar[type[Intervention]] = Intervention
    paper: ClassVar[str] = "Liu 2021 (DExperts), arXiv:2105.03023, with one model told two things"
    two_sided: ClassVar[bool] = True
    """Whether the other stream is told the opposite; else it is the prompt itself."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        check_template(self.template)
        if not 0 <= self.cut < 1:
            raise UserError(f"cut must be at least 0 and below 1, and is {self.cut}.")

    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Intervention]:
        """Contrast of both sides, or of one with the model as it is."""
        told = told_with(lm, self.template, dipole.claim)
        other = told_with(lm, self.template, dipole.against) if self.two_sided else ""

        def make(weight: float, facts: Mapping[str, Any]) -> Intervention:
            return Intervention(told, other, weight, self.cut, facts=facts, **made_for(lm))

        return make
