"""Rows whose keys and values are held outside the decoder, so that they can be changed and tried."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from dipole.batching import pad_batch
from dipole.decoding.stepping import branched, new_cache
from dipole.resident import Resident
from dipole.types import UserError


class Pair(NamedTuple):
    """Something for the keys and the values of one layer, `(rows, heads, positions, width)` each."""

    keys: Tensor
    values: Tensor


class Read(NamedTuple):
    """What one column gave.

    Attributes:
        logits: `(rows, vocab)` float32.
        hidden: `(rows, width)` float32, what the output embedding read.
        cache: The cache with the column in it.
    """

    logits: Tensor
    hidden: Tensor
    cache: Any


class KeyValues:
    """Keys and values of all tokens of some rows but the last one.

    They are held as the model computed them, beside float32 offsets that sum up what was added since: a small
    step would be lost in bfloat16.

    Attributes:
        cache: Transformers' cache of what the model computed.
        offsets: For each layer that stores keys and values what is added to them, float32.
        mask: `(rows, cached)` 1 on real tokens.
        count: `(rows, 1)` how many tokens are cached.
        total: `(rows, width)` float32 sum of the final hidden states of the tokens taken in since.
        taken: How many these are.
    """

    cache: Any

    def __init__(self, resident: Resident, model: Any, rows: Sequence[Sequence[int]]) -> None:
        """Read all tokens but the last of each row.

        Args:
            resident: Says how the model takes its inputs.
            model: The resident's model with what is engaged in it.
            rows: Token ids, at least one a row.

        Raises:
            UserError: The model keeps no keys and values, or not only those.
        """
        self._resident, self._model = resident, model
        if resident.cache_name != "past_key_values" or resident.probe.caches != "ragged":
            raise UserError(
                f"{resident.name} keeps no keys and values of past tokens that a batch can be continued "
                "on, which this control changes; use another control, such as contrast."
            )
        unique = list(dict.fromkeys(tuple(row[:-1]) for row in rows))
        index = torch.tensor([unique.index(tuple(row[:-1])) for row in rows], device=resident.device)
        self.cache = new_cache(model)
        longest = max(len(row) for row in unique)
        batch = pad_batch(unique, resident.pad_id, "left", resident.device)
        self.mask = batch.attention_mask[index]
        self.count = self.mask.sum(1, keepdim=True)
        width = model.get_output_embeddings().weight.shape[1]
        self.total = torch.zeros(len(rows), width, device=resident.device)
        self.taken = 0
        if longest:
            model.base_model(**resident.inputs(batch), past_key_values=self.cache, use_cache=True)
            self._check()
            self.cache.reorder_cache(index)
        self.offsets = [_zeros(layer) for layer in self.cache.layers]

    def _check(self) -> None:
        from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

        known = (DynamicLayer, DynamicSlidingWindowLayer)
        odd = [type(layer).__name__ for layer in self.cache.layers if type(layer) not in known]
        if odd:
            raise UserError(
                f"{self._resident.name} keeps other things than keys and values of past tokens ({odd[0]}), "
                "which this control can't change; use another control, such as contrast."
            )

    @property
    def real(self) -> list[Tensor]:
        """For each layer `(rows, 1, stored, 1)` float32, 1 where a stored position is a real token."""
        return [
            self.mask[:, self.mask.shape[1] - _length(layer) :].float()[:, None, :, None]
            for layer in self.cache.layers
        ]

    def shifted(self, deltas: Sequence[Pair | None]) -> Any:
        """A copy of the cache with the offsets and deltas in it.

        Args:
            deltas: For each layer what is added to its last stored positions, or None.
        """
        copied = branched(self.cache)
        for layer, offset, delta in zip(copied.layers, self.offsets, deltas, strict=True):
            if offset is not None:
                layer.keys = _sum(layer.keys, offset.keys, delta and delta.keys)
                layer.values = _sum(layer.values, offset.values, delta and delta.values)
        return copied

    def add(self, deltas: Sequence[Pair | None]) -> None:
        """Add deltas to the offsets for good."""
        for offset, delta in zip(self.offsets, deltas, strict=True):
            if offset is not None and delta is not None:
                for whole, part in zip(offset, delta, strict=True):
                    whole[:, :, whole.shape[2] - part.shape[2] :] += part

    def part(self, index: Tensor) -> KeyValues:
        """Some of the rows as copies, to be changed and handed to `put`."""
        copied = copy.copy(self)
        copied.cache = branched(self.cache)
        copied.keep(index)
        return copied

    def put(self, index: Tensor, part: KeyValues) -> None:
        """Take over the offsets of some rows; nothing is done if they are this object's own."""
        if part is self:
            return
        for whole, new in zip(self.offsets, part.offsets, strict=True):
            if whole is not None and new is not None:
                for to, tensor in zip(whole, new, strict=True):
                    to[index.to(to.device)] = tensor

    def read(self, cache: Any, column: Tensor, ahead: int = 0) -> Read:
        """Read one column over a cache of these rows, which takes the column in.

        Args:
            cache: This cache, or a copy of it.
            column: `(rows,)` token ids, or `(rows, width)` input embeddings.
            ahead: Columns that this cache holds and `mask` does not count yet.
        """
        name = "inputs_embeds" if column.is_floating_point() else "input_ids"
        ones = self.mask.new_ones(len(self.mask), 1 + ahead)
        inputs = {
            name: column[:, None].to(self._resident.device),
            "attention_mask": torch.cat([self.mask, ones], dim=1),
        }
        if self._resident.takes_positions:
            inputs["position_ids"] = self.count + ahead
        with caught_hidden(self._model) as caught:
            logits = self._model(**inputs, past_key_values=cache, use_cache=True).logits
        return Read(logits[:, -1].float(), caught[0][:, -1].float(), cache)

    def take(self, column: Read) -> None:
        """Take in the column that was read over a copy: its keys and values, its hidden state, its token."""
        for index, (layer, from_layer) in enumerate(zip(self.cache.layers, column.cache.layers, strict=True)):
            if from_layer.is_initialized and from_layer is not layer:
                layer.update(from_layer.keys[:, :, -1:], from_layer.values[:, :, -1:])
            self.offsets[index] = _grown(self.offsets[index], layer)
        self.mask = torch.cat([self.mask, self.mask.new_ones(len(self.mask), 1)], dim=1)
        self.count = self.count + 1
        self.total = self.total + column.hidden.to(self.total.device)
        self.taken += 1

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        index = index.to(self.mask.device)
        self.mask, self.count, self.total = self.mask[index], self.count[index], self.total[index]
        self.cache.reorder_cache(index)
        self.offsets = [
            None if pair is None else Pair(*(t[index.to(t.device)] for t in pair)) for pair in self.offsets
        ]


@contextmanager
def caught_hidden(model: Any) -> Iterator[list[Tensor]]:
    """What the output embedding reads inside the block: the hidden states after the final norm."""
    caught: list[Tensor] = []
    handle = model.get_output_embeddings().register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    try:
        yield caught
    finally:
        handle.remove()


def _length(layer: Any) -> int:
    return layer.keys.shape[-2] if layer.is_initialized else 0


def _zeros(layer: Any) -> Pair | None:
    if not layer.is_initialized:
        return None
    return Pair(*(torch.zeros_like(t, dtype=torch.float32) for t in (layer.keys, layer.values)))


def _grown(offset: Pair | None, layer: Any) -> Pair | None:
    """The offset with zeros for a new position, cut to what the layer still stores."""
    if offset is None:
        return _zeros(layer)
    longer = (torch.cat([t, torch.zeros_like(t[:, :, :1])], dim=2) for t in offset)
    return Pair(*(t[:, :, t.shape[2] - _length(layer) :] for t in longer))


def _sum(stored: Tensor, offset: Tensor, delta: Tensor | None) -> Tensor:
    if delta is None:
        return (stored.float() + offset).to(stored.dtype)
    first = stored.shape[2] - delta.shape[2]
    if first == 0:
        return (stored.float() + (offset + delta)).to(stored.dtype)
    moved = torch.cat([offset[:, :, :first], offset[:, :, first:] + delta], dim=2)
    return (stored.float() + moved).to(stored.dtype)
