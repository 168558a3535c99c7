"""ILQL the slow and obvious way: Python floats, one action at a time, every token of the vocabulary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Text(NamedTuple):
    """One text, as an agent saw it.

    Attributes:
        q: For each action and head, Q of every token there.
        target: The same of the target heads.
        values: V of the state before each action.
        actions: The token taken at each.
        reward: Given with the last one.
    """

    q: Sequence[Sequence[Sequence[float]]]
    target: Sequence[Sequence[Sequence[float]]]
    values: Sequence[float]
    actions: Sequence[int]
    reward: float


def returns(text: Text, gamma: float, lam: float) -> list[float]:
    """What Q is drawn to at each action: the mixture of all n-step returns, spelled out."""
    last = len(text.actions) - 1
    found = []
    for t in range(last + 1):
        steps = [gamma**n * text.values[t + n] for n in range(1, last - t + 1)]  # n steps of 0, then V
        whole = gamma ** (last - t) * text.reward
        mixed = sum((1 - lam) * lam ** (n - 1) * step for n, step in enumerate(steps, 1))
        found.append(mixed + lam ** len(steps) * whole)
    return found


def loss(texts: Sequence[Text], gamma: float, lam: float, tau: float, cql: float) -> float:
    """L_Q + L_V + cql L_CQL, a mean over the actions of all texts."""
    total, count = 0.0, 0
    for text in texts:
        wanted = returns(text, gamma, lam)
        for t, action in enumerate(text.actions):
            for head in text.q[t]:
                total += (head[action] - wanted[t]) ** 2
                total += cql * (math.log(sum(math.exp(value) for value in head)) - head[action])
            u = min(head[action] for head in text.target[t]) - text.values[t]
            total += (1 - tau if u < 0 else tau) * u * u
            count += 1
    return total / count


def chain(rewards: Sequence[Sequence[float]], gamma: float) -> tuple[list[list[float]], list[float]]:
    """Q and V of the best way through a chain: each action pays, and leads on to the next state."""
    q: list[list[float]] = []
    values: list[float] = []
    after = 0.0
    for paid in reversed(rewards):
        q.insert(0, [reward + gamma * after for reward in paid])
        after = max(q[0])
        values.insert(0, after)
    return q, values
