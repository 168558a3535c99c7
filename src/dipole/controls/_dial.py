"""What the graded controls of logits share: a weight chosen on prompts of its own, which strength 1 is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from dipole.controls.selection import select, split_prompts
from dipole.protocols import Intervention, Poles
from dipole.types import MOST_COUNT, JudgedBy, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

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


class Dial(Protocol):
    """A control whose weight is chosen from a grid.

    Attributes:
        weights: The grid, comma separated.
        n: Completions a weight.
        max_new_tokens: Token budget of each.
        seed: Their seed.
        judged_by: By whose score the weight is chosen.
    """

    @property
    def weights(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def max_new_tokens(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def judged_by(self) -> JudgedBy: ...


def fitted_weight(
    control: Dial, lm: LM, dipole: Poles, make: Callable[[float, Mapping[str, Any]], Made]
) -> Made:
    """The intervention with the weight that does best on the prompts for choosing.

    Args:
        control: What is fitted.
        lm: What it is fitted to.
        dipole: What is wanted.
        make: Makes the intervention from a weight and its facts.

    Raises:
        UserError: The dipole has no prompts, or they do not fit in the context.
    """
    _, choosing = split_prompts(dipole)
    grid = numbers_of(control.weights, "weights")
    tried = [({"weight": weight}, weight, make(weight, {}).apply) for weight in grid]
    chosen = select(lm, dipole, tried, choosing, control.n, control.max_new_tokens, seed=control.seed)
    facts = {"judged_by": control.judged_by._asdict(), "selection": chosen.to_dict()}
    return make(grid[chosen.chosen], facts)
