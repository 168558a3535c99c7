"""PPLM's losses, its step and its fusion as functions of tensors (Dathathri et al. 2020, section 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def bag_loss(logprobs: Tensor, bags: Sequence[Tensor], away: bool = False) -> Tensor:
    """Minus log of the probability of each bag of words, summed over the bags: `(rows,)` nats.

    Args:
        logprobs: `(rows, vocab)`.
        bags: Token ids, one tensor a bag.
        away: Minus log of the probability of everything but the bag, which is 0 once the bag is gone, whereas
            there is no end to climbing the other.
    """
    return -torch.stack([_mass(logprobs, bag, away) for bag in bags]).sum(0)


def _mass(logprobs: Tensor, bag: Tensor, away: bool) -> Tensor:
    if away:
        return logprobs.index_fill(1, bag, -math.inf).logsumexp(-1)
    return logprobs[:, bag].logsumexp(-1)


def probe_loss(pooled: Tensor, weight: Tensor, bias: Tensor, away: bool = False) -> Tensor:
    """Cross-entropy of a linear probe to its own class: `(rows,)` nats.

    Args:
        pooled: `(rows, width)` mean of final hidden states.
        weight: `(width,)`.
        bias: `()`.
        away: To the other class.
    """
    logit = pooled @ weight + bias
    return torch.nn.functional.softplus(logit if away else -logit)


def divergence(logprobs: Tensor, unperturbed: Tensor) -> Tensor:
    """KL(p || p_u) of each row, `(rows,)` nats."""
    return (logprobs.exp() * (logprobs - unperturbed)).sum(-1)


def plausible(logits: Tensor, bag: Tensor, least: float) -> Tensor:
    """Rows where the bag has at least `least` times the likeliest token's probability: `(rows,)` bool.

    The cut of contrastive decoding (Li et al. 2023, arXiv:2210.15097), applied to the bag as a whole.

    Args:
        logits: `(rows, vocab)` of the unperturbed model.
        bag: `(k,)` token ids.
        least: 0 lets every row through.
    """
    if least <= 0:
        return logits.new_ones(len(logits), dtype=torch.bool)
    return torch.as_tensor(logits[:, bag].logsumexp(-1) - logits.amax(-1) >= math.log(least))


def gradient_norm(keys: Tensor, values: Tensor) -> Tensor:
    """Norm of one layer's gradient for each row, keys and values together: `(rows,)`.

    The released code takes one norm over a batch of copies of one text. Here every row has its own, so that a
    row does not depend on what it is batched with.
    """
    return (keys.flatten(1).square().sum(1) + values.flatten(1).square().sum(1)).sqrt()


def step(gradient: Tensor, norm: Tensor, size: float, gamma: float) -> Tensor:
    """The step -size g / |g|^gamma of each row; a row whose norm is 0 does not move.

    Args:
        gradient: `(rows, ...)`, masked to the window.
        norm: `(rows,)`, the largest so far.
        size: Length of the step at gamma 1.
        gamma: 1 makes every step as long; above 1 steep places take shorter ones.
    """
    scale = torch.where(norm > 0, size / norm.clamp(min=torch.finfo(norm.dtype).tiny) ** gamma, 0.0)
    return -gradient * scale.view(-1, *([1] * (gradient.dim() - 1)))


def fuse(logits: Tensor, perturbed: Tensor, unperturbed: Tensor, gm: float) -> Tensor:
    """Logits whose softmax is p_t^gm p_u^(1 - gm), normalised, where `logits` are those of p_u.

    Written as an addition to `logits`, so that what other interventions did to them stays.
    """
    return logits + gm * (perturbed.log_softmax(-1) - unperturbed.log_softmax(-1))
