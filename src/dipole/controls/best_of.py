"""Best of n: draw several continuations and keep the one that a recognizer likes best."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.interventions.decode import MOST_DRAWS
from dipole.interventions.decode import BestOf as Intervention
from dipole.protocols import JudgedBy
from dipole.registry import RECOGNIZERS, resolve
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class BestOf:
    """Draw n continuations, keep the one that leans most towards the claim.

    Nothing is fitted: the recognizer chooses each time text is written. Its cost is n times that of
    generating, and its reach is what the model says by itself: where one continuation in a hundred takes
    the side, 8 draws rarely hold one.

    Attributes:
        n: Continuations to choose from.
        recognizer: Who chooses.
    """

    n: int = 8
    recognizer: str = "velma"

    name: ClassVar[str] = "best_of"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "decode"
    makes: ClassVar[type[Intervention]] = Intervention
    graded: ClassVar[bool] = False
    paper: ClassVar[str] = "Stiennon 2020, arXiv:2009.01325"
    optional_concept: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.n < 2:
            raise UserError(f"n must be at least 2 (one continuation leaves no choice), and is {self.n}.")
        if self.n > MOST_DRAWS:
            raise UserError(f"n must be at most {MOST_DRAWS}, and is {self.n}; fit a control of the weights.")
        resolve(RECOGNIZERS, self.recognizer)

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizer chooses."""
        return JudgedBy((self.recognizer,))

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Intervention:
        """The intervention that chooses.

        Raises:
            UserError: The concept is no dipole.
        """
        return Intervention(self.recognizer, require_dipole(self, concept).to_dict(), self.n)
