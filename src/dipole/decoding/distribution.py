"""The distribution that the next token is drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from dipole.types import UserError

_COLDEST = 1e-6


@dataclass(frozen=True)
class Decoding:
    """How the next token is drawn: temperature, then top-k, then top-p, then a draw.

    Attributes:
        temperature: Divides the logits; 0 (or below 1e-6) takes the likeliest token.
        top_k: Keep the k likeliest tokens, and those as likely as the k-th; 0 keeps all.
        top_p: Keep the smallest set of tokens with at least this probability; 1 keeps all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        if not 0 <= self.temperature < math.inf:
            raise UserError(f"temperature must be 0 or more and finite, and is {self.temperature}.")
        if self.top_k < 0:
            raise UserError(f"top_k must be 0 (off) or more, and is {self.top_k}.")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top_p must be above 0 and at most 1, and is {self.top_p}.")

    def warp(self, logits: Tensor) -> Tensor:
        """Log-probabilities `(batch, vocab)` of the distribution that is drawn from, float32."""
        logits = logits.float()
        if self.temperature < _COLDEST:
            logits = torch.full_like(logits, -torch.inf).scatter(-1, logits.argmax(-1, keepdim=True), 0.0)
        elif self.temperature != 1:
            logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature  # the largest can't overflow
        if 0 < self.top_k < logits.shape[-1]:
            kth = logits.topk(self.top_k, dim=-1).values[:, -1:]
            logits = logits.masked_fill(logits < kth, -torch.inf)
        if self.top_p < 1:
            logits = logits.masked_fill(~nucleus(logits, self.top_p), -torch.inf)
        return logits.log_softmax(-1)


def nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Which tokens belong to the smallest set that has at least the probability `top_p`; never none."""
    if top_p >= 1:
        return ~logits.isneginf()
    ordered, index = logits.sort(dim=-1, descending=True)
    likely = ordered.softmax(-1)
    kept = likely.cumsum(-1) - likely < top_p  # probability of everything likelier
    kept[..., 0] = True  # in float32 a very small top_p is 0
    return torch.zeros_like(kept).scatter(-1, index, kept) & ~logits.isneginf()
