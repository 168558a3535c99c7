"""Losses on preferences the slow and obvious way: Python floats, one pair or text at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def dpo(policy: Sequence[float], base: Sequence[float], beta: float, smoothing: float = 0.0) -> float:
    """Of a pair, from the log-likelihoods of the chosen and the rejected text under each model."""
    reward = [beta * (p - b) for p, b in zip(policy, base, strict=True)]
    right = sigmoid(reward[0] - reward[1])  # probability that the chosen one is preferred (Bradley-Terry)
    return -(1 - smoothing) * math.log(right) - smoothing * math.log(1 - right)


def ipo(policy: Sequence[float], base: Sequence[float], beta: float, smoothing: float = 0.0) -> float:
    """The same by Azar 2023, eq. 17, with its tau as beta."""
    gap = (policy[0] - policy[1]) - (base[0] - base[1])
    return (1 - smoothing) * (gap - 0.5 / beta) ** 2 + smoothing * (gap + 0.5 / beta) ** 2


def kto(
    ratios: Sequence[float],
    wanted: Sequence[bool],
    strangers: Sequence[float],
    beta: float,
    weights: tuple[float, float] = (1.0, 1.0),
) -> float:
    """Mean over texts of Ethayarajh 2024, eq. 8: weight - weight · sigmoid(how much better than it was).

    Args:
        ratios: Of each text, log policy - log base.
        wanted: Which texts are.
        strangers: The same as `ratios` of mismatched texts.
        beta: Price of leaving the base.
        weights: Of the wanted texts, and of the others.
    """
    point = max(0.0, sum(strangers) / len(strangers))
    losses = []
    for ratio, good in zip(ratios, wanted, strict=True):
        weight = weights[0] if good else weights[1]
        value = sigmoid(beta * (ratio - point)) if good else sigmoid(beta * (point - ratio))
        losses.append(weight - weight * value)
    return sum(losses) / len(losses)
