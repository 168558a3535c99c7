"""Numbers from the command line."""

from __future__ import annotations

import math

from dipole.types import MOST_SEED, UserError

LARGEST = MOST_SEED  # of counts too


def require_number(flag: str, value: object, lowest: int = 0) -> None:
    """Refuse what no flag can mean: NaN, infinity, whole numbers below the lowest and enormous ones.

    Raises:
        UserError: The value is one of those.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag} must be a finite number, and is {value}.")
    if isinstance(value, int) and not lowest <= value <= LARGEST:
        raise UserError(f"{flag} must be a whole number from {lowest} to {LARGEST}, and is {value}.")
