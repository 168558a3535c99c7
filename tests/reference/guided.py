"""Guided next-token distributions the slow way: one row, no cache, no padding, a whole forward for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reference.generation import next_logits


def boosted(model: Any, prompt: Sequence[int], response: Sequence[int], values: dict[int, float]) -> Tensor:
    """Logits `(len(response), vocab)` with a number added to some tokens."""
    rows = []
    for step in range(len(response)):
        logits = next_logits(model, [*prompt, *response[:step]])
        for token, value in values.items():
            logits[token] += value
        rows.append(logits)
    return torch.stack(rows)


def contrasted(
    model: Any,
    prompt: Sequence[int],
    towards: tuple[Any, Sequence[int]],
    away: tuple[Any, Sequence[int]],
    response: Sequence[int],
    weight: float,
) -> Tensor:
    """Log-probabilities of softmax(z + weight (z_towards - z_away)); each side is a model and its prompt."""
    rows = []
    for step in range(len(response)):
        written = response[:step]
        base = next_logits(model, [*prompt, *written]).double()
        plus = next_logits(towards[0], [*towards[1], *written]).double()
        minus = next_logits(away[0], [*away[1], *written]).double()
        scores = base.exp() * (plus.softmax(-1) / minus.softmax(-1)) ** weight
        rows.append((scores / scores.sum()).log())
    return torch.stack(rows).float()
