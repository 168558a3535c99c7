"""Stance the slow, obvious way: one text, one statement, one token at a time, in each direction.

Independent of `dipole.recognizers`: from token ids, it asks the bare model for one next token after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference.velma import mean_loglikelihood

Pair = tuple[Sequence[int], Sequence[int]]


def text_to_pole(model: Any, prefix: Sequence[int], poles: Pair) -> float:
    """From ids of the text with what stands around it, and of claim and opposite behind it; nats a token."""
    return mean_loglikelihood(model, prefix, poles[0]) - mean_loglikelihood(model, prefix, poles[1])


def pole_to_text(model: Any, prefixes: Pair, text: Sequence[int]) -> float:
    """From ids of claim and opposite with what stands around them, and of the text behind them."""
    return mean_loglikelihood(model, prefixes[0], text) - mean_loglikelihood(model, prefixes[1], text)
