"""Cross-entropy on completions the slow and obvious way: Python floats, one token at a time, no padding.

A text is its prompt's token ids and its response's; `logits[i]` are those that follow the i-th token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Logits = Sequence[Sequence[float]]


def text_loss(logits: Logits, prompt: Sequence[int], response: Sequence[int]) -> float:
    """Minus the log-probability of the response given the prompt, nats."""
    total = 0.0
    for t, token in enumerate(response):
        row = logits[len(prompt) + t - 1]
        highest = max(row)
        total -= row[token] - highest - math.log(sum(math.exp(value - highest) for value in row))
    return total


def minibatch_loss(
    texts: Sequence[tuple[Sequence[int], Sequence[int]]], read: Callable[[Sequence[int]], Logits]
) -> float:
    """Mean over all response tokens of the minibatch, nats a token."""
    total = sum(text_loss(read([*prompt, *response]), prompt, response) for prompt, response in texts)
    return total / sum(len(response) for _, response in texts)


def rate(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate, as a list of all steps that rises and falls in equal strides."""
    rising = next(count for count in range(steps + 1) if count >= warmup * steps)
    falling = steps - rising
    shares = [(k + 1) / rising for k in range(rising)] + [(falling - k) / falling for k in range(falling)]
    return shares[step]
