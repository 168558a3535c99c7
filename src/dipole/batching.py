"""Ragged token sequences as rectangular batches whose padding changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """A padded batch.

    Attributes:
        input_ids: `(batch, time)` token ids.
        attention_mask: `(batch, time)` 1 on real tokens.
        position_ids: `(batch, time)` positions counted over the real tokens, 0 on padding.
    """

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor


def pad_batch(
    sequences: Sequence[Sequence[int]],
    pad_id: int,
    side: Literal["left", "right"],
    device: torch.device | str = "cpu",
    length: int | None = None,
) -> Batch:
    """Pad token sequences to one length.

    Positions are explicit because models with absolute positions are wrong by O(1) on left-padded
    batches without them (recipes 0.2).

    Args:
        sequences: Token ids, one non-empty sequence a row.
        pad_id: Id that fills the padding; masked, so its value never matters.
        side: Where the padding goes.
        device: Where the tensors live.
        length: Width of the batch; the longest sequence if None.
    """
    width = max(len(s) for s in sequences) if length is None else length
    input_ids = torch.full((len(sequences), width), pad_id, dtype=torch.long)
    attention_mask = torch.zeros((len(sequences), width), dtype=torch.long)
    for row, sequence in enumerate(sequences):
        columns = slice(width - len(sequence), width) if side == "left" else slice(0, len(sequence))
        input_ids[row, columns] = torch.tensor(list(sequence), dtype=torch.long)
        attention_mask[row, columns] = 1
    return Batch(input_ids.to(device), attention_mask.to(device), positions(attention_mask).to(device))


def positions(attention_mask: Tensor) -> Tensor:
    """Position of each real token among the real tokens of its row; 0 on padding."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def even(batch: Batch) -> Iterator[tuple[Tensor, Batch]]:
    """The rows of a padded batch as batches of one length each, without padding.

    Yields:
        Indices of rows, and the batch of these rows alone.
    """
    lengths = batch.attention_mask.sum(1)
    for length in sorted(set(lengths.tolist())):
        index = (lengths == length).nonzero()[:, 0]
        real = batch.attention_mask[index].bool()
        ids, places = (t[index][real].view(-1, length) for t in (batch.input_ids, batch.position_ids))
        yield index, Batch(ids, torch.ones_like(ids), places)


def parts(lengths: Sequence[int], size: int, ragged: bool) -> Iterator[list[int]]:
    """Indices of rows in batches of at most `size`: neighbours if `ragged`, else rows of one length."""
    groups: dict[int, list[int]] = {}
    for k, length in enumerate(lengths):
        groups.setdefault(0 if ragged else length, []).append(k)
    for group in groups.values():
        for part in chunks(len(group), size):
            yield group[part]


def chunks(n: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover `range(n)`."""
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def by_tokens(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Batches of rows of about one length, so that little of a batch is padding.

    Args:
        lengths: Tokens of each row.
        budget: Padded tokens a batch; a longer row is a batch of its own.

    Yields:
        Indices of rows, shortest first.
    """
    part: list[int] = []
    for i in sorted(range(len(lengths)), key=lengths.__getitem__):
        # rows come sorted, so the newest is as wide as the batch
        if part and lengths[i] * (len(part) + 1) > budget:
            yield part
            part = []
        part.append(i)
    if part:
        yield part
