"""What the recognizers of a pair of statements ask of a concept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from dipole.types import UserError


class Poles(Protocol):
    """A statement and its opposite."""

    @property
    def claim(self) -> str:
        """The statement."""
        ...

    @property
    def against(self) -> str:
        """Its opposite."""
        ...


def statements(concept: Poles, recognizer: str) -> tuple[str, str]:
    """The claim and its opposite without blanks around them.

    Raises:
        UserError: One of them is empty, or the concept has no such pair.
    """
    try:
        pair = (concept.claim.strip(), concept.against.strip())
    except AttributeError as error:
        raise UserError(
            f"{recognizer} compares a statement with its opposite and cannot score a "
            f"{type(concept).__name__}; give it a Dipole."
        ) from error
    for text, role in zip(pair, ("claim", "opposite"), strict=True):
        if not text:
            raise UserError(f"The {role} is empty; {recognizer} compares two statements that say something.")
    return pair


def texts_of(texts: Sequence[str], recognizer: str) -> list[str]:
    """The texts as a list.

    Raises:
        UserError: One string was given, which would be read letter by letter.
    """
    if isinstance(texts, str):
        raise UserError(f"{recognizer} scores a list of texts, and was given one string; put it in a list.")
    return list(texts)


def check_settings(recognizer: str, temperature: float, batch_size: int) -> None:
    """Refuse values that mean nothing.

    Raises:
        UserError: The temperature is not above 0, or the batch size below 1.
    """
    if not (temperature > 0 and math.isfinite(temperature)):
        raise UserError(f"The temperature of {recognizer} must be above 0, and is {temperature}.")
    if batch_size < 1:
        raise UserError(f"batch_size must be at least 1, and is {batch_size}.")
