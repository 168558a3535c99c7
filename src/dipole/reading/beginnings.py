"""Probes of beginnings: what is to be said of a whole text, from what has been read of it so far."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dipole.batching import by_tokens
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

_EARLY = 6  # beginnings up to this many tokens are all candidates; later ones are drawn evenly
_TOKENS = 4096  # padded tokens a forward


class Row(NamedTuple):
    """A text whose beginnings are read.

    Attributes:
        ids: Token ids, those of the prompt first.
        start: How many of them belong to the prompt, at least 1; a beginning has at least one more.
    """

    ids: Sequence[int]
    start: int


class Beginnings(NamedTuple):
    """Features of beginnings, as `interventions.fudge` reads them.

    Attributes:
        features: `(beginnings, layers, 2 * width)` float32: mean state over all tokens but the first, and
            the state of the last.
        owners: `(beginnings,)` int64 index of the text that each is of.
    """

    features: Tensor
    owners: Tensor


def pooled(states: Tensor, lengths: Sequence[int]) -> Tensor:
    """Features of beginnings of so many tokens, at least 2 each.

    Args:
        states: `(layers, tokens, width)` of one text.
        lengths: How many tokens each beginning has.

    Returns:
        `(beginnings, layers, 2 * width)`.
    """
    last = torch.tensor(lengths) - 1
    means = states[:, 1:].cumsum(1)[:, last - 1] / last[:, None]
    return torch.cat([means, states[:, last]], dim=2).transpose(0, 1)


def beginnings(
    lm: LM, rows: Sequence[Row], layers: Sequence[int], each: int | None = None, seed: int = 0
) -> Beginnings:
    """Read beginnings of each text.

    Args:
        lm: The LM that reads, whose interventions inside the model are engaged.
        rows: The texts; one longer than the context is cut, and one that is nothing but its prompt is left
            out.
        layers: Blocks whose output is read.
        each: Beginnings of a text, drawn with replacement, half of them of its first few tokens, where most
            is decided; all of them once by default.
        seed: Of the draw.

    Raises:
        UserError: No text has a beginning.
    """
    rng = random.Random(seed)
    limit = lm.resident.context_length
    encoded = [list(row.ids) if limit is None else list(row.ids)[:limit] for row in rows]
    found: list[Tensor] = []
    owners: list[int] = []
    for part in by_tokens([len(ids) for ids in encoded], _TOKENS):
        read = lm.token_activations([encoded[i] for i in part], layers, len(part))
        for i, states in zip(part, read, strict=True):
            lengths = _drawn(range(rows[i].start + 1, len(encoded[i]) + 1), each, rng)
            if lengths:
                found.append(pooled(states, lengths))
                owners += [i] * len(lengths)
    if not found:
        raise UserError(
            "There is no text to fit a probe of beginnings on: all are empty, or their prompts fill the "
            "context; give longer texts or shorter prompts."
        )
    return Beginnings(torch.cat(found), torch.tensor(owners))


def _drawn(lengths: Sequence[int], each: int | None, rng: random.Random) -> list[int]:
    if each is None or not lengths:
        return list(lengths)
    early, late = lengths[:_EARLY], lengths[_EARLY:]
    found = [rng.choice(early) for _ in range(each // 2)]
    return found + [rng.choice(late or early) for _ in range(each - len(found))]
