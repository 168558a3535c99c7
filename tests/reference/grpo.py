"""Learning without a critic the slow and obvious way: Python floats, one group and one text at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

Row = Sequence[float]


def advantages(group: Row, kind: str, floor: float = 0.0) -> list[float]:
    """Of the rewards of one group; NaN is no reward, and has no advantage."""
    known = [reward for reward in group if not math.isnan(reward)]
    return [0.0 if math.isnan(reward) else _one(reward, known, kind, floor) for reward in group]


def _one(reward: float, known: Row, kind: str, floor: float) -> float:
    mean = sum(known) / len(known)
    if len(known) == 1:
        return 0.0
    if kind == "centred":
        return reward - mean
    if kind == "leave_one_out":
        others = list(known)
        others.remove(reward)
        return reward - sum(others) / len(others)
    variance = sum((other - mean) ** 2 for other in known) / (len(known) - 1)
    return (reward - mean) / (max(math.sqrt(variance), floor) + 1e-4)


def loss(
    new: Sequence[Row], old: Sequence[Row], advantage: Row, clip: float, length: str, ratio: str, longest: int
) -> float:
    """Of a minibatch of texts, each a list of log-probabilities of its tokens."""
    tokens = sum(len(row) for row in new)
    total = 0.0
    for new_row, old_row, a in zip(new, old, advantage, strict=True):
        changes = [n - o for n, o in zip(new_row, old_row, strict=True)]
        if ratio == "sequence":
            changes = [sum(changes)]
        here = sum(-min(math.exp(c) * a, min(max(math.exp(c), 1 - clip), 1 + clip) * a) for c in changes)
        if length == "sequence":
            total += here / len(new_row) / len(new)
        elif length == "token":
            total += here / tokens
        else:
            total += here / longest / len(new)
    return total


def policy_gradient(probabilities: Row, rewards: Row) -> list[float]:
    """Of the expected reward of a softmax bandit, with respect to its logits."""
    mean = sum(p * r for p, r in zip(probabilities, rewards, strict=True))
    return [p * (r - mean) for p, r in zip(probabilities, rewards, strict=True)]
