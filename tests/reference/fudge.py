"""Guidance by a probe for one row: each beginning with each candidate is read anew from its first token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from reference.generation import next_logits


@torch.no_grad()
def states(model: Any, block: Any, ids: Sequence[int]) -> list[list[float]]:
    """What a block gives out at each token of one text, without padding, mask or cache."""
    caught: list[Any] = []
    handle = block.register_forward_hook(lambda _m, _a, output: caught.append(output))
    model(input_ids=torch.tensor([list(ids)]), use_cache=False)
    handle.remove()
    output = caught[0] if isinstance(caught[0], torch.Tensor) else caught[0][0]
    rows: list[list[float]] = output[0].double().tolist()
    return rows


def features(model: Any, block: Any, ids: Sequence[int]) -> list[float]:
    """Mean of the states over all tokens but the first, and the state of the last."""
    read = states(model, block, ids)
    means = [sum(column) / (len(read) - 1) for column in zip(*read[1:], strict=True)]
    return [*means, *read[-1]]


def candidates(logits: Sequence[float], most: int, mass: float) -> list[int]:
    """The likeliest tokens one by one, until they have the mass or are as many as may be."""
    largest = max(logits)
    total = sum(math.exp(z - largest) for z in logits)
    found: list[int] = []
    reached = 0.0
    for token in sorted(range(len(logits)), key=lambda i: -logits[i]):
        if found and (len(found) == most or reached >= mass or logits[token] == -math.inf):
            break
        found.append(token)
        reached += math.exp(logits[token] - largest) / total
    return found


def logprobs(
    model: Any,
    block: Any,
    prompt: Sequence[int],
    response: Sequence[int],
    weight: Sequence[float],
    bias: float,
    most: int,
    mass: float,
    strength: float,
    ends: frozenset[int],
    forbidden: Sequence[int] = (),
) -> Tensor:
    """Guided log-probabilities `(len(response), vocab)`."""
    rows = []
    for step in range(len(response)):
        text = [*prompt, *response[:step]]
        logits = next_logits(model, text).double()
        logits[list(forbidden)] = -math.inf
        scores = torch.full_like(logits, -math.inf)
        for token in candidates(logits.tolist(), most, mass):
            read = text if token in ends and len(text) > 1 else [*text, token]
            odds = bias + sum(w * h for w, h in zip(weight, features(model, block, read), strict=True))
            p = 1 / (1 + math.exp(-odds if strength > 0 else odds))
            scores[token] = logits[token] + abs(strength) * math.log(p)
        rows.append(scores.log_softmax(-1))
    return torch.stack(rows).float()
