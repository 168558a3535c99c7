"""What a language model makes of whole documents: the mean of its residual stream over their tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from dipole.batching import by_tokens
from dipole.protocols import LM
from dipole.types import UserError

_WINDOW = 256  # documents that are sorted by length before they are batched
_TOKENS = 4096  # padded tokens a forward


@dataclass(frozen=True, eq=False)
class Features:
    """Pooled activations of documents.

    Attributes:
        layers: Blocks whose output was read, counted from 0.
        values: `(documents, layers, width)` float32, mean over all tokens but the first, which often is an
            attention sink.
        norms: For each layer the median over documents of the mean norm of a token's state.
        cut: How many documents were longer than the context and were read in part.
    """

    layers: tuple[int, ...]
    values: Tensor
    norms: tuple[float, ...]
    cut: int

    def at(self, layer: int) -> Tensor:
        """`(documents, width)` of one layer."""
        return self.values[:, self.layers.index(layer)]


def read_features(
    lm: LM,
    texts: Iterable[str],
    layers: Sequence[int],
    on_texts: Callable[[int], None] | None = None,
) -> Features:
    """Read documents as they come; only their means are kept.

    Args:
        lm: The LM, whose interventions inside the model are engaged.
        texts: Any number of them; one longer than the context is cut.
        layers: Blocks to read.
        on_texts: Called with the number of documents read so far.

    Raises:
        UserError: There are no texts, or no such layer.
    """
    means: list[Tensor] = []
    norms: list[Tensor] = []
    window: list[str] = []
    cut = 0

    def flush() -> None:
        nonlocal cut
        read, size, shortened = _read_window(lm, window, layers)
        means.append(read)
        norms.append(size)
        cut += shortened
        window.clear()
        if on_texts is not None:
            on_texts(sum(len(part) for part in means))

    for text in texts:
        window.append(text)
        if len(window) == _WINDOW:
            flush()
    if window:
        flush()
    if not means:
        raise UserError("There is no document to read; check the corpus.")
    sizes = torch.cat(norms).median(0).values
    return Features(tuple(layers), torch.cat(means), tuple(sizes.tolist()), cut)


def _read_window(lm: LM, texts: Sequence[str], layers: Sequence[int]) -> tuple[Tensor, Tensor, int]:
    """Means `(texts, layers, width)`, mean norms `(texts, layers)`, and how many texts were cut."""
    resident = lm.resident
    limit = resident.context_length
    ids = [resident.encode(text) for text in texts]
    cut = sum(limit is not None and len(row) > limit for row in ids)
    ids = [row if limit is None else row[:limit] for row in ids]
    means: list[Tensor | None] = [None] * len(ids)
    norms: list[Tensor | None] = [None] * len(ids)
    for part in by_tokens([len(row) for row in ids], _TOKENS):
        read = lm.token_activations([ids[i] for i in part], layers, len(part))
        for i, states in zip(part, read, strict=True):
            kept = states[:, 1:] if states.shape[1] > 1 else states
            means[i] = kept.mean(1)
            norms[i] = kept.norm(dim=-1).mean(1)
    return (
        torch.stack([m for m in means if m is not None]),
        torch.stack([n for n in norms if n is not None]),
        cut,
    )
