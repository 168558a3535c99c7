"""Drawing tokens so that each sample has a seed of its own and its log-probabilities are kept."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.decoding.distribution import Decoding
from dipole.decoding.guides import Decoder
from dipole.types import UserError

_CROWDED = 0.75


class Drawn(NamedTuple):
    """What was drawn for one row.

    Attributes:
        tokens: Token ids, the end-of-text token included where one was drawn.
        logprobs: Log-probability in nats of each under the distribution that it was drawn from.
    """

    tokens: list[int]
    logprobs: list[float]


def draw_rows(
    decoder: Decoder, decoding: Decoding, seeds: Sequence[int], max_new_tokens: int, eos: Set[int]
) -> list[Drawn]:
    """Continue the rows of a decoder until each has drawn an end-of-text token or spent its budget.

    Inverse-CDF sampling from one uniform number a row and step, drawn beforehand from that row's own
    seed: a sample does not depend on its batch, and LMs that share seeds share random numbers. Rows that
    have ended leave the batch once a quarter of it has.

    Args:
        decoder: The batch.
        decoding: Temperature and truncation.
        seeds: One a row.
        max_new_tokens: Budget of each row.
        eos: Token ids that end a text.
    """
    uniforms = uniform_rows(seeds, max_new_tokens)
    drawn = [Drawn([], []) for _ in seeds]
    alive = list(range(len(seeds)))  # which row each row of the batch is
    ended: set[int] = set()
    logits = decoder.start()
    for step in range(max_new_tokens):
        logprobs = decoding.warp(logits)
        tokens = draw(logprobs, uniforms[alive, step])
        picked = logprobs.gather(-1, tokens[:, None]).squeeze(-1)
        for row, token, logprob in zip(alive, tokens.tolist(), picked.tolist(), strict=True):
            if row not in ended:
                drawn[row].tokens.append(token)
                drawn[row].logprobs.append(logprob)
                if token in eos:
                    ended.add(row)
        if len(ended) == len(seeds) or step + 1 == max_new_tokens:
            break
        kept = [k for k, row in enumerate(alive) if row not in ended]
        if len(kept) <= _CROWDED * len(alive):
            index = torch.tensor(kept, device=tokens.device)
            decoder.keep(index)
            tokens, alive = tokens[index], [alive[k] for k in kept]
        logits = decoder.advance(tokens)
    return drawn


def forced_logits(decoder: Decoder, responses: Sequence[Sequence[int]]) -> list[Tensor]:
    """Guided logits that predict each token of given responses, `(len(response), vocab)` a row.

    The same steps as sampling takes, with the tokens given, so guides see what they would have seen.
    """
    parts: list[list[Tensor]] = [[] for _ in responses]
    alive = list(range(len(responses)))  # which row each row of the batch is
    logits = decoder.start()
    for step in range(max((len(r) for r in responses), default=0)):
        for row, found in zip(alive, logits, strict=True):
            if step < len(responses[row]):
                parts[row].append(found)
        # A response that is over leaves: with the tokens of the others it might not fit in the context.
        kept = [k for k, row in enumerate(alive) if step + 1 < len(responses[row])]
        if not kept:
            break
        if len(kept) < len(alive):
            decoder.keep(torch.tensor(kept, device=logits.device))
            alive = [alive[k] for k in kept]
        fed = torch.tensor([responses[row][step] for row in alive], device=logits.device)
        logits = decoder.advance(fed)
    empty = logits.new_zeros(0, logits.shape[-1])
    return [torch.stack(rows) if rows else empty for rows in parts]


def uniform_rows(seeds: Sequence[int], columns: int) -> Tensor:
    """Uniform numbers `(rows, columns)` in [0, 1), float64, each row from its own seed."""
    return torch.stack(
        [
            torch.rand(columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
            for seed in seeds
        ]
    )


def draw(logprobs: Tensor, uniforms: Tensor) -> Tensor:
    """Tokens `(batch,)` by inverse CDF: the first whose cumulative probability exceeds the uniform.

    Args:
        logprobs: `(batch, vocab)` log-probabilities; -inf is never drawn.
        uniforms: `(batch,)` float64 in [0, 1).

    Raises:
        UserError: A row has no distribution to draw from (NaN).
    """
    cumulative = _portable(logprobs).exp().cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    if not bool(total.isfinite().all()):
        raise UserError(
            "The model's next-token distribution is NaN: its numbers overflowed. Load it with "
            "dtype='float32' (or bfloat16), or use a smaller strength."
        )
    # The total is 1 only up to rounding, so the uniform is scaled to it, and kept below it: beyond the last
    # token that can be drawn the cumulative sum stands still.
    ceiling = torch.nextafter(total, torch.zeros_like(total))
    target = torch.minimum(uniforms.to(total.device)[:, None] * total, ceiling)
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).to(logprobs.device)


def _portable(logprobs: Tensor) -> Tensor:
    """On the CPU where the device has no double precision (Apple's)."""
    return logprobs.cpu() if logprobs.device.type == "mps" else logprobs
