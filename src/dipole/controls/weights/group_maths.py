"""The arithmetic of learning without a critic: advantages within a group, and how lengths count."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Advantage = Literal["group", "centred", "leave_one_out", "running"]
Length = Literal["sequence", "token", "constant"]
Ratio = Literal["token", "sequence"]

_STD = 1e-4  # added to the deviation of a group, as TRL does


def group_advantages(rewards: Tensor, size: int, kind: Advantage, floor: float = 0.0) -> Tensor:
    """How much better each sample is than the others of its group, `(rows,)`; 0 where there is no reward.

    Rewards that are NaN are in no mean and no deviation; a group with one reward left has nothing to compare.

    Args:
        rewards: `(rows,)`, groups together; NaN where there is none.
        size: Samples of a group.
        kind: group divides what a reward is above the mean by the group's (unbiased) standard deviation (Shao
            2024, section 4.1.2); centred does not (Liu 2025, eq. 4); leave_one_out takes the mean of the
            others (Ahmadian 2024, eq. 7).
        floor: The divisor is at least this, so that what is nearly constant is not blown up.
    """
    grid = rewards.view(-1, size)
    known = ~grid.isnan()
    count = known.sum(1, keepdim=True)
    mean = grid.nan_to_num().sum(1, keepdim=True) / count.clamp(min=1)
    above = torch.where(known, grid - mean, torch.zeros_like(grid))
    others = (count - 1).clamp(min=1)
    if kind == "leave_one_out":  # r - mean of the others = (r - mean of all) * G / (G - 1)
        above = above * (count / others)
    elif kind == "group":
        deviation = (above.square().sum(1, keepdim=True) / others).sqrt()
        above = above / (deviation.clamp(min=floor) + _STD)
    return above.flatten()


def flat_groups(scores: Tensor, size: int) -> float:
    """Share of groups in which every score is the same, or too few are known, so that nothing is compared.

    Args:
        scores: `(rows,)`, groups together; NaN where there is none.
        size: Samples of a group.
    """
    grid = scores.view(-1, size)
    low, high = grid.nan_to_num(nan=torch.inf).amin(1), grid.nan_to_num(nan=-torch.inf).amax(1)
    return float((high <= low).float().mean())


def row_weights(mask: Tensor, whole: Tensor, length: Length, longest: int) -> Tensor:
    """What the sum over the tokens of each row is multiplied by, `(rows,)`.

    Args:
        mask: `(rows, tokens)` 1 on response tokens, of some rows.
        whole: The same of the whole minibatch; a row without a token does not count.
        length: sequence is the mean over rows of each row's mean (Shao 2024, eq. 3), in which a token of a
            long text counts less; token the mean over all tokens; constant divides each row's sum by one
            number (Liu 2025).
        longest: That number.
    """
    tokens = mask.sum(1)
    rows = (whole.sum(1) > 0).sum().clamp(min=1)
    if length == "sequence":
        return 1 / (rows * tokens.clamp(min=1))
    if length == "token":
        return torch.ones_like(tokens) / whole.sum().clamp(min=1)
    return torch.ones_like(tokens) / (rows * longest)


def changes(logprobs: Tensor, old: Tensor, mask: Tensor, ratio: Ratio) -> tuple[Tensor, Tensor]:
    """Log-ratios to the policy that sampled, and where they count; `(rows, tokens)`, or `(rows, 1)`.

    Args:
        logprobs: `(rows, tokens)` nats.
        old: The same under the policy that sampled.
        mask: 1 on response tokens.
        ratio: Whether the text is one action or each token is.
    """
    change = (logprobs - old) * mask
    if ratio == "token":
        return change, mask
    return change.sum(1, keepdim=True), (mask.sum(1, keepdim=True) > 0).to(mask.dtype)


def surrogate(change: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """Clipped surrogate (Schulman 2017, eq. 7), negated, of each action.

    Args:
        change: Log-ratio to the policy that sampled.
        advantages: Of each action, or one a row.
        clip: Clipping range.
    """
    ratio = change.exp()
    return torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
