"""Rows of tokens that grow one token at a time over one cache."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from dipole.models.batching import Batch, pad_batch
from dipole.models.resident import Resident

# A model and the keyword arguments of its forward, to what is read of each row, `(rows, ...)`.
Read = Callable[[Any, dict[str, Any]], Tensor]


def next_logits(model: Any, inputs: dict[str, Any]) -> Tensor:
    """Logits after the last column, `(rows, vocab)`."""
    logits: Tensor = model(**inputs).logits
    return logits[:, -1]


class Stepper:
    """Continues a batch of rows with one model, keeping keys and values between steps.

    Equal rows are read once and share their prompt's pass. A model that takes no cache is read from the
    start at each step, which is slow and right.

    Attributes:
        cache: Keys and values of all tokens but the last, None before `start` and without a cache.
    """

    def __init__(
        self, resident: Resident, model: Any, rows: Sequence[Sequence[int]], read: Read = next_logits
    ) -> None:
        """Prepare to continue `rows`, each of at least one token.

        Args:
            resident: Says how the model takes its inputs.
            model: The resident's model with what is engaged in it.
            rows: Token ids.
            read: What `start` and `advance` give. It runs the model, and may stop it where nothing above is
                needed.
        """
        self._resident, self._model, self._what = resident, model, read
        unique = list(dict.fromkeys(tuple(row) for row in rows))
        self._expand = [unique.index(tuple(row)) for row in rows] if len(unique) < len(rows) else None
        batch = pad_batch(unique, resident.pad_id, "left", resident.device)
        self._ids, self._mask = batch.input_ids, batch.attention_mask
        self._next = batch.position_ids[:, -1:] + 1  # (rows, 1)
        self._batch = batch
        self.cache: Any = None
        self._caches = "past_key_values" in resident.forward_parameters

    def start(self) -> Tensor:
        """Read the rows; logits that predict the first new token, `(rows, vocab)`."""
        found = self._read(self._batch)
        if self._expand is not None:
            index = torch.tensor(self._expand, device=found.device)
            found = found[index]
            self.keep(index)
        return found

    def advance(self, tokens: Tensor) -> Tensor:
        """Take one more token a row, `(rows,)`; logits that predict the one after, `(rows, vocab)`."""
        column = tokens.to(self._ids.device)[:, None]
        self._mask = torch.cat([self._mask, torch.ones_like(column)], dim=1)
        if self.cache is None:
            self._ids = torch.cat([self._ids, column], dim=1)
            positions = (self._mask.cumsum(1) - 1).clamp(min=0)
            return self._read(Batch(self._ids, self._mask, positions))
        found = self._read(Batch(column, self._mask, self._next))
        self._next = self._next + 1
        return found

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only, in this order; a row may be named more than once."""
        index = index.to(self._ids.device)
        self._mask, self._next = self._mask[index], self._next[index]
        if self.cache is None:
            self._ids = self._ids[index]
        else:
            self.cache.reorder_cache(index)

    def fork(self, index: Tensor) -> Stepper:
        """Another stepper that goes on from here with these rows; this one stays as it is."""
        other = copy.copy(self)
        if self.cache is not None:
            # `keep` puts copies of the rows in the layers' place, so the tensors themselves can be shared.
            other.cache = copy.copy(self.cache)
            other.cache.layers = [copy.copy(layer) for layer in self.cache.layers]
        other.keep(index)
        return other

    def row_bytes(self) -> int:
        """What the cache of one row takes; 0 before `start` and without a cache."""
        layers = [] if self.cache is None else self.cache.layers
        held = [value for layer in layers for value in vars(layer).values() if isinstance(value, Tensor)]
        return sum(t.numel() * t.element_size() for t in held) // len(self._mask)

    def _read(self, batch: Batch) -> Tensor:
        inputs = self._resident.inputs(batch, logits_to_keep=1)
        if not self._caches:
            return self._what(self._model, {**inputs, "use_cache": False})
        if self.cache is None:
            from transformers import DynamicCache

            self.cache = DynamicCache(config=self._model.config)
        return self._what(self._model, {**inputs, "past_key_values": self.cache, "use_cache": True})
