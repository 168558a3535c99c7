"""Rows of tokens that grow one token at a time over a cache, where the model has one that holds."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from dipole.batching import Batch, pad_batch
from dipole.resident import Resident

# A model and the keyword arguments of its forward, to what is read of each row, `(rows, ...)`.
Read = Callable[[Any, dict[str, Any]], Tensor]


def next_logits(model: Any, inputs: dict[str, Any]) -> Tensor:
    """Logits after the last column, `(rows, vocab)`."""
    logits: Tensor = model(**inputs).logits
    return logits[:, -1]


class Steps(Protocol):
    """A batch of rows that is continued token by token."""

    def start(self) -> Tensor:
        """Read the rows; logits that predict the first new token, `(rows, vocab)`."""
        ...

    def advance(self, tokens: Tensor) -> Tensor:
        """Take one more token a row, `(rows,)`; logits that predict the one after, `(rows, vocab)`."""
        ...

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only, in this order; a row may be named more than once."""
        ...

    def fork(self, index: Tensor) -> Steps:
        """Another that goes on from here with these rows; this one stays as it is."""
        ...

    def row_bytes(self) -> int:
        """What the cache of one row takes; 0 before `start` and without a cache."""
        ...


def steps(resident: Resident, model: Any, rows: Sequence[Sequence[int]], read: Read = next_logits) -> Steps:
    """Continue rows on the road that the model can be trusted with; see `Probe`.

    Args:
        resident: Says how the model takes its inputs, and what holds of it.
        model: The resident's model with what is engaged in it.
        rows: Token ids, at least one a row.
        read: What `start` and `advance` give. It runs the model, and may stop it where nothing above is
            needed.
    """
    probe = resident.probe
    ragged = len({len(row) for row in rows}) > 1
    together = not ragged or (probe.left if probe.caches == "no" else probe.caches == "ragged")
    return (Stepper if together else Grouped)(resident, model, rows, read, probe.caches != "no")


class Stepper:
    """Continues a batch of rows with one model, keeping keys and values between steps.

    Equal rows are read once and share their prompt's pass. A model that takes no cache is read from the
    start at each step, which is slow and right.

    Attributes:
        cache: Keys and values of all tokens but the last, None before `start` and without a cache.
    """

    def __init__(
        self, resident: Resident, model: Any, rows: Sequence[Sequence[int]], read: Read, caches: bool
    ) -> None:
        """Prepare to continue `rows`, each of at least one token; the arguments are those of `steps`."""
        self._resident, self._model, self._what = resident, model, read
        unique = list(dict.fromkeys(tuple(row) for row in rows))
        self._expand = [unique.index(tuple(row)) for row in rows] if len(unique) < len(rows) else None
        batch = pad_batch(unique, resident.pad_id, "left", resident.device)
        self._ids, self._mask = batch.input_ids, batch.attention_mask
        self._next = batch.position_ids[:, -1:] + 1  # (rows, 1)
        self._batch = batch
        self.cache: Any = None
        self._caches, self._cache_name = caches, str(resident.cache_name)

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
            other.cache = branched(self.cache)  # `keep` puts copies of the rows in its layers' place
        other.keep(index)
        return other

    def row_bytes(self) -> int:
        """What the cache of one row takes; 0 before `start` and without a cache."""
        return 0 if self.cache is None else cache_bytes(self.cache) // len(self._mask)

    def _read(self, batch: Batch) -> Tensor:
        inputs = self._resident.inputs(batch, logits_to_keep=1)
        if not self._caches:
            return self._what(self._model, {**inputs, "use_cache": False})
        if self.cache is None:
            self.cache = new_cache(self._model)
        return self._what(self._model, {**inputs, self._cache_name: self.cache, "use_cache": True})


class Grouped:
    """Rows of several lengths, each length in a batch of its own: for models that padding confuses."""

    def __init__(
        self, resident: Resident, model: Any, rows: Sequence[Sequence[int]], read: Read, caches: bool
    ) -> None:
        """Prepare to continue `rows`, each of at least one token; the arguments are those of `steps`."""
        members: dict[int, list[int]] = {}
        for k, row in enumerate(rows):
            members.setdefault(len(row), []).append(k)
        self._members = list(members.values())  # for each group which row each of its rows is
        self._groups: list[Steps] = [
            Stepper(resident, model, [rows[k] for k in group], read, caches) for group in self._members
        ]

    def start(self) -> Tensor:
        """Read the rows; logits that predict the first new token, `(rows, vocab)`."""
        return self._joined([group.start() for group in self._groups])

    def advance(self, tokens: Tensor) -> Tensor:
        """Take one more token a row, `(rows,)`; logits that predict the one after, `(rows, vocab)`."""
        pairs = zip(self._groups, self._members, strict=True)
        return self._joined([group.advance(tokens[members]) for group, members in pairs])

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only, in this order; a row may be named more than once."""
        groups, own, self._members = self._groups, self._picked(index), []
        self._groups = []
        for group, (members, local) in zip(groups, own, strict=True):
            if members:
                group.keep(local)
                self._groups.append(group)
                self._members.append(members)

    def fork(self, index: Tensor) -> Grouped:
        """Another that goes on from here with these rows; this one stays as it is."""
        other = copy.copy(self)
        pairs = [pair for pair in zip(self._groups, self._picked(index), strict=True) if pair[1][0]]
        other._groups = [group.fork(local) for group, (_, local) in pairs]
        other._members = [members for _, (members, _) in pairs]
        return other

    def row_bytes(self) -> int:
        """What the cache of one row takes at most; 0 before `start` and without a cache."""
        return max(group.row_bytes() for group in self._groups)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        order = torch.tensor([k for members in self._members for k in members])
        return torch.cat(list(parts))[order.argsort().to(parts[0].device)]

    def _picked(self, index: Tensor) -> list[tuple[list[int], Tensor]]:
        """For each group the places that its rows take among those named, and which of its rows these are."""
        places = {row: (g, k) for g, members in enumerate(self._members) for k, row in enumerate(members)}
        found: list[tuple[list[int], list[int]]] = [([], []) for _ in self._members]
        for place, row in enumerate(index.tolist()):
            group, local = places[row]
            found[group][0].append(place)
            found[group][1].append(local)
        return [(members, torch.tensor(local, device=index.device)) for members, local in found]


def new_cache(model: Any) -> Any:
    """An empty cache of the kind that the model's config asks for."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def branched(cache: Any) -> Any:
    """A cache whose layers can be put in another order, or be given other tensors; the tensors are shared.

    Layers that hold keys and values put new tensors in the place of old ones. Those of recurrent blocks hold
    lists of states, which are copied too; they write into the states themselves when they go on, so put the
    copy in another order, or the same one, before that.
    """
    copied = copy.copy(cache)
    copied.layers = [_branched(layer) for layer in cache.layers]
    return copied


def _branched(layer: Any) -> Any:
    copied = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, list | dict):
            setattr(copied, name, copy.copy(value))
    return copied


def cache_bytes(cache: Any) -> int:
    """What the tensors of a cache take."""
    return sum(t.numel() * t.element_size() for layer in cache.layers for t in _tensors(vars(layer)))


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict | list | tuple):
        for value in held.values() if isinstance(held, dict) else held:
            yield from _tensors(value)
