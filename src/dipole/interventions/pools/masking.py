"""Masking logits while text is written."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dipole.interventions.pools.automaton import Allowed, Walk
from dipole.interventions.pools.vocabulary import Vocabulary


def masked(logits: Tensor, allowed: Sequence[Allowed], known: int, cost: float = 0.0) -> Tensor:
    """Logits with -inf at every token that may not follow.

    Args:
        logits: `(rows, vocab)`.
        allowed: One a row.
        known: Tokens of the tokenizer; a model may have more columns than that, which are never allowed.
        cost: Nats to subtract for each cut.
    """
    width = logits.shape[1]
    listed = torch.tensor([a.listed for a in allowed], device=logits.device)
    flat = torch.cat([torch.from_numpy(a.tokens) + row * width for row, a in enumerate(allowed)])
    mask = ~listed[:, None].expand(-1, width).contiguous()
    mask[:, known:] = False
    cells, at = mask.view(-1), flat.to(logits.device)
    cells[at] = ~cells[at]
    if cost:
        logits = logits.clone()
        for row, a in enumerate(allowed):
            if len(a.costly):
                paid = torch.from_numpy(a.cuts).to(logits) * cost
                logits[row, torch.from_numpy(a.costly).to(logits.device)] -= paid
    return logits.masked_fill(~mask, -torch.inf)


class MaskGuide:
    """Masks each step; rows go their ways through the language on their own."""

    def __init__(self, walks: Sequence[Walk], words: Vocabulary, cost: float) -> None:
        """Begin at the start of each walk.

        Args:
            walks: One a row.
            words: The model's tokens.
            cost: Nats that each cut costs.
        """
        self._walks, self._words, self._cost = list(walks), words, cost

    @property
    def streams(self) -> Sequence[Sequence[int]]:
        """None."""
        return ()

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Logits with -inf at every token that may not follow."""
        del streams
        return masked(logits, [walk.allowed() for walk in self._walks], len(self._words.texts), self._cost)

    def advance(self, tokens: Tensor) -> None:
        """Go on with the tokens `(rows,)`."""
        for walk, token in zip(self._walks, tokens.tolist(), strict=True):
            walk.advance(token)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only; a row may be named more than once."""
        self._walks = [self._walks[k].copy() for k in index.tolist()]
