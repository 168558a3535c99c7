"""What controls share that choose by trying: counts, a grid of weights, and the weight that strength 1 is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from dipole.controls._concept import require_dipole
from dipole.controls.selection import judges_of, select, split_prompts
from dipole.protocols import Intervention, JudgedBy, Poles
from dipole.types import MOST_COUNT, Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run

Made = TypeVar("Made", bound=Intervention)


def numbers_of(text: str, flag: str) -> list[float]:
    """Numbers above 0 from a comma separated list, ascending, each once.

    Args:
        text: Such as `0.5,1,2`.
        flag: What the user wrote it for.

    Raises:
        UserError: They are not numbers above 0.
    """
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        found = [math.nan]
    if not all(0 < value < math.inf for value in found):
        raise UserError(f"{flag} must be numbers above 0 such as 0.5,1,2, and is {text!r}.")
    return found


def require_positive(control: Any, *names: str) -> None:
    """Refuse counts below 1, and those that no machine lives to see.

    Raises:
        UserError: One is.
    """
    for name in names:
        if not 1 <= getattr(control, name) <= MOST_COUNT:
            raise UserError(
                f"{name} must be at least 1 and at most {MOST_COUNT:,}, and is {getattr(control, name)}."
            )


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A control of one dipole that tries what it leaves open, and measures each try on completions.

    Attributes:
        n: Continuations to measure each by.
        max_new_tokens: Token budget of a continuation.
        seed: Seed of the continuations.
    """

    n: int = 32
    max_new_tokens: int = 28
    seed: int = 0

    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    graded: ClassVar[bool] = True
    optional_concept: ClassVar[bool] = False
    counts: ClassVar[tuple[str, ...]] = ()
    """Further fields that are numbers of things."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        require_positive(self, "n", "max_new_tokens", *self.counts)


class Weighed(Measured, ABC, Generic[Made]):
    """A control of logits, a dataclass, whose weight is chosen from a grid: strength 1 is that one.

    What completions name chooses it, where the dipole has words for both sides, or else VELMA.
    """

    name: ClassVar[str]
    makes: ClassVar[type[Any]]
    paper: ClassVar[str]

    surface: ClassVar[Surface] = "logits"
    judged_by: ClassVar[JudgedBy] = JudgedBy(chosen=("velma",))

    @property
    @abstractmethod
    def weights(self) -> str:
        """The grid, comma separated."""

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        numbers_of(self.weights, "weights")

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Made:
        """The intervention with the weight that does best on the prompts for choosing.

        Raises:
            UserError: The concept is no dipole or has no prompts, they do not fit in the context, or `maker`
                finds something wanting.
        """
        del run
        dipole = require_dipole(self, concept)
        make = self.maker(lm, dipole)
        _, choosing = split_prompts(dipole)
        grid = numbers_of(self.weights, "weights")
        tried = [({"weight": weight}, weight, make(weight, {}).apply) for weight in grid]
        chosen = select(lm, dipole, tried, choosing, self.n, self.max_new_tokens, seed=self.seed)
        facts = {"judged_by": judges_of(dipole)._asdict(), "selection": chosen.to_dict()}
        return make(float(chosen.best.candidate["weight"]), facts)

    @abstractmethod
    def maker(self, lm: LM, dipole: Poles) -> Callable[[float, Mapping[str, Any]], Made]:
        """What makes the intervention from a weight and facts.

        Args:
            lm: What it is fitted to.
            dipole: What is wanted.
        """
