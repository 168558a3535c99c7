"""Losses on texts that are preferred, or wanted, over a base: of log-ratios alone, no model in sight.

A log-ratio is log policy(text) - log base(text), summed over the tokens of the text, in nats.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo_loss(margin: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """Loss of each pair, in nats (Rafailov 2023, eq. 7; with smoothing Mitchell 2023, eq. 3).

    Args:
        margin: `(pairs,)` log-ratio of the chosen text less that of the rejected one.
        beta: Price of leaving the base.
        smoothing: Share of the pairs that may be the wrong way round.
    """
    reward = beta * margin
    return -(1 - smoothing) * logsigmoid(reward) - smoothing * logsigmoid(-reward)


def ipo_loss(margin: Tensor, beta: float, smoothing: float = 0.0) -> Tensor:
    """Squared distance of each pair's margin from 1 / (2 beta), in nats squared (Azar 2023, eq. 17).

    Args:
        margin: As for `dpo_loss`.
        beta: As for `dpo_loss`.
        smoothing: As for `dpo_loss`; its term wants the opposite margin.
    """
    goal = 1 / (2 * beta)
    return (1 - smoothing) * (margin - goal).square() + smoothing * (margin + goal).square()


def kto_loss(ratio: Tensor, wanted: Tensor, point: Tensor, beta: float) -> Tensor:
    """Loss of each text, from 0 to 1 (Ethayarajh 2024, eq. 8 with both weights 1).

    Args:
        ratio: `(texts,)` log-ratios.
        wanted: `(texts,)` 1 for a wanted text, -1 for an unwanted one.
        point: What a ratio is worth nothing at: an estimate of the KL to the base; no gradient flows into it.
        beta: Price of leaving the base.
    """
    return 1 - (beta * wanted * (ratio - point.detach())).sigmoid()


def balance(wanted: int, unwanted: int) -> tuple[float, float]:
    """Weights of the two kinds of texts, so that both weigh the same in all and a text 1 on average."""
    total = wanted + unwanted
    return total / (2 * wanted), total / (2 * unwanted)
