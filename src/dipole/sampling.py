"""Drawing tokens so that each sample has a seed of its own and its log-probabilities are kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
            ordered, index = logits.sort(dim=-1, descending=True)
            likely = ordered.softmax(-1)
            before = likely.cumsum(-1) - likely  # probability of everything likelier; exactly 0 for the first
            dropped = torch.zeros_like(before, dtype=torch.bool).scatter(-1, index, before >= self.top_p)
            logits = logits.masked_fill(dropped, -torch.inf)
        return logits.log_softmax(-1)


class RecordingSampler:
    """A logits processor that draws the token itself, so that greedy `generate` returns exact samples.

    Inverse-CDF sampling from one uniform number a row and step, drawn beforehand from that row's own
    seed: a sample does not depend on its batch, and LMs that share seeds share random numbers.
    """

    def __init__(
        self, decoding: Decoding, seeds: Sequence[int], max_new_tokens: int, prompt_width: int
    ) -> None:
        """Prepare the uniforms: one row a seed, one column a token."""
        self._decoding = decoding
        self._prompt_width = prompt_width
        self._uniforms = torch.stack(
            [
                torch.rand(max_new_tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
                for seed in seeds
            ]
        )
        self._logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Scores that are 0 at the drawn token and -inf elsewhere, `(batch, vocab)`."""
        step = input_ids.shape[1] - self._prompt_width
        logprobs = self._decoding.warp(scores)
        token = draw(logprobs, self._uniforms[:, step])
        self._logprobs.append(logprobs.gather(-1, token[:, None]).squeeze(-1))
        return torch.full_like(scores, -torch.inf).scatter(-1, token[:, None], 0.0)

    def logprobs(self) -> Tensor:
        """Log-probability of each drawn token, `(batch, steps)`, on the CPU."""
        return torch.stack(self._logprobs, dim=1).cpu()


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens `(batch,)` by inverse CDF: the first whose cumulative probability exceeds the uniform.

    Args:
        logprobs: `(batch, vocab)` log-probabilities; -inf is never drawn.
        uniforms: `(batch,)` float64 in [0, 1).

    Raises:
        UserError: A row has no distribution to draw from (NaN).
    """
    cumulative = _float64(logprobs).exp().cumsum(-1)
    total = cumulative[:, -1:]
    if not bool(total.isfinite().all()):
        raise UserError(
            "The model's next-token distribution is NaN: its numbers overflowed. Load it with --dtype "
            "float32 or bfloat16, or use a smaller strength."
        )
    # The total is 1 only up to rounding, so the uniform is scaled to it, and kept below it: beyond the last
    # token that can be drawn the cumulative sum stands still.
    ceiling = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum(uniforms.to(total.device)[:, None] * total, ceiling)
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).to(logprobs.device)


def _float64(logprobs: Tensor) -> Tensor:
    """In double precision, on the CPU where the device has none (Apple's)."""
    return (logprobs.cpu() if logprobs.device.type == "mps" else logprobs).double()
