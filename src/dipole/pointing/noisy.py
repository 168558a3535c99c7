"""A probe trained on noisy soft labels, with the confidence loss of weak-to-strong generalisation."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

A_MAX = 0.5
_STEPS = 300
_WARM = 0.2


def confidence_loss(log_odds: Tensor, q: Tensor, a: float, threshold: float | None = None) -> Tensor:
    """`(1 - a) CE(f, q) + a CE(f, 1[f > t])`, mean over documents, nats (Burns 2023, appendix A.4).

    The hardened labels are constants to the gradient.

    Args:
        log_odds: `(n,)` of the probe.
        q: `(n,)` weak probabilities.
        a: Weight of the probe's own hardened opinion.
        threshold: Probability above which the probe's opinion counts as yes; by default the quantile at which
            as many documents are positive as the weak labels have positive mass.
    """
    soft = F.binary_cross_entropy_with_logits(log_odds, q)
    with torch.no_grad():
        hard = (log_odds > _cut(log_odds, q, threshold)).to(q.dtype)
    return (1 - a) * soft + a * F.binary_cross_entropy_with_logits(log_odds, hard)


def _cut(log_odds: Tensor, q: Tensor, threshold: float | None) -> Tensor:
    if threshold is not None:
        return torch.tensor(math.log(threshold / (1 - threshold)), dtype=log_odds.dtype)
    positives = min(max(round(float(q.sum())), 0), len(q))
    if positives == len(q):
        return log_odds.min() - 1
    return log_odds.sort(descending=True).values[positives]


def noisy_label_probe(
    features: Tensor, q: Tensor, a_max: float = A_MAX, penalty: float = 1e-2, steps: int = _STEPS
) -> tuple[Tensor, Tensor]:
    """A linear probe on soft labels; the weight of its own opinion rises linearly to `a_max`.

    Departures from the released code: whole batches, a warm-up that reaches `a_max` as in the paper (the
    release jumps to it), and a linear probe on features where the release trains the model.

    Args:
        features: `(n, width)`, of about unit size, because the penalty and the steps are the same for all.
        q: `(n,)` weak probabilities.
        a_max: Largest weight of the probe's own opinion; 0 is plain soft-label training.
        penalty: Of the squared weights, a document.
        steps: Of Adam.

    Returns:
        Weights `(width,)` and bias `()`.
    """
    x, y = features.double(), q.double()
    weight = torch.zeros(x.shape[1], dtype=x.dtype, requires_grad=True)
    rate = float(y.mean().clamp(1e-6, 1 - 1e-6))
    bias = torch.tensor(math.log(rate / (1 - rate)), dtype=x.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.05)
    for step in range(steps):
        a = a_max * min(1.0, step / max(1.0, _WARM * steps))
        loss = confidence_loss(x @ weight + bias, y, a) + penalty * weight.square().sum() / 2
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weight.detach(), bias.detach()
