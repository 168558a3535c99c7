"""What a forward gave, and how far it is from what another gave."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Seen(NamedTuple):
    """What a forward gave, float32 on the CPU.

    Attributes:
        logits: `(batch, time, vocab)`.
        hidden: `(batch, time, width)`, what the output embedding read; None where it can't be caught.
    """

    logits: Tensor
    hidden: Tensor | None = None

    def row(self, index: int, columns: slice) -> Seen:
        """One row, some columns."""
        part = slice(index, index + 1)
        hidden = None if self.hidden is None else self.hidden[part, columns]
        return Seen(self.logits[part, columns], hidden)

    def off(self, truth: Seen, unit: Seen) -> float:
        """The larger of the deviations of logits and hidden states from a truth; see `deviation`.

        Args:
            truth: Of the same shapes.
            unit: Whose spread is the unit.
        """
        of_logits = deviation(self.logits, truth.logits, unit.logits)
        if self.hidden is None or truth.hidden is None or unit.hidden is None:
            return of_logits
        return max(of_logits, deviation(self.hidden, truth.hidden, unit.hidden))


def see(model: Any, inputs: dict[str, Any]) -> Seen:
    """Run a model once, without a cache."""
    caught: list[Tensor] = []
    head = model.get_output_embeddings()
    handle = None
    if head is not None:
        handle = head.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach()))
    try:
        logits = model(**inputs, use_cache=False).logits
    finally:
        if handle is not None:
            handle.remove()
    hidden = caught[0].float().cpu() if caught and caught[0].shape[:2] == logits.shape[:2] else None
    return Seen(logits.float().cpu(), hidden)


def deviation(found: Tensor, truth: Tensor, scale: Tensor) -> float:
    """Largest root mean square over the last dimension of a difference, relative to how much outputs vary.

    Args:
        found: `(batch, time, width)`.
        truth: The same shape.
        scale: `(batch, time, width)` outputs whose spread over columns is the unit, so that a model with flat
            outputs is judged by the little that they do say.
    """
    unit = (scale - scale.mean(1, keepdim=True)).pow(2).mean().sqrt()
    off = (found - truth).to(torch.float64).pow(2).mean(-1).sqrt().max()
    if off == 0:
        return 0.0
    return float(off / unit) if unit > 0 else float("inf")
