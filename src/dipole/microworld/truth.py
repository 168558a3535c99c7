"""A text and its latent truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Truth = dict[str, Any]


@dataclass(frozen=True)
class Document:
    """A text and its truth.

    Attributes:
        text: what a reader sees.
        truth: JSON-able. Always has "form"; the rest depends on the form (see docs/microworld.md).
    """

    text: str
    truth: Truth


Unit = list[Document]
"""Documents that balance each other, e.g. the same choice decided both ways."""
