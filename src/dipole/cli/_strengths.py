"""Strengths from the command line."""

from __future__ import annotations

import math

from dipole.types import UserError

_MOST = 101


def strengths_from(text: str, steps: int | None = None) -> tuple[float, ...]:
    """The strengths of `-4..4`, evenly spaced, or of a list such as `-1,0,1`; in ascending order, each once.

    Args:
        text: What was given.
        steps: How many a range has; 9 by default.

    Raises:
        UserError: It is neither, a strength is not finite, or `steps` is given for a list or out of range.
    """
    low, dots, high = text.partition("..")
    parts = [low, high] if dots else text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise UserError(
            f"--strengths must be a range such as -4..4 or a list such as -1,0,1, and is {text!r}."
        ) from None
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"--strengths must be finite numbers, and is {text!r}.")
    if not dots:
        if steps is not None:
            raise UserError("--steps is for a range such as --strengths -4..4; leave it out with a list.")
        return tuple(sorted(set(numbers)))
    count = 9 if steps is None else steps
    if not 2 <= count <= _MOST:
        raise UserError(f"--steps must be from 2 to {_MOST}, and is {count}.")
    if numbers[0] >= numbers[1]:
        raise UserError(f"--strengths {text} goes nowhere: wanted the lower end first, as in -4..4.")
    first, width = numbers[0], (numbers[1] - numbers[0]) / (count - 1)
    return tuple(round(first + width * k, 10) for k in range(count))
