"""Activations of two LMs on the same texts, paired by byte ends, as a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.protocols import LM
from dipole.stitching.pairing import Pairing, Reader, merge
from dipole.stitching.parts import PARTS, Part, Split, Text, Units

_BUDGET = 128 * 2**20  # bytes of activations held at once while they are read
_AT_ONCE = 64  # texts


class Rows(NamedTuple):
    """Paired activations of some documents of one part.

    Attributes:
        part: What these documents are for.
        source: `(source layers, rows, source width)` float32.
        target: `(target layers, rows, target width)` float32.
        relaxed: `(rows,)` which rows have not read exactly the same bytes.
        documents: Index of the document of each row, counted over the stream, `(rows,)`.
    """

    part: Part
    source: Tensor
    target: Tensor
    relaxed: Tensor
    documents: Tensor


@dataclass
class Tally:
    """What the stream has seen so far.

    Attributes:
        documents: How many were read.
        unpaired: How many of them gave no pair.
        pairs: Pairs by equal ends.
        relaxed: Marked pairs beyond these.
        coarse: Tokens of the coarser tokenization that could have had a partner.
        fine: The same of the finer.
        digest: Hash over the texts, in their order.
        units: Which of them stay together.
    """

    documents: int = 0
    unpaired: int = 0
    pairs: int = 0
    relaxed: int = 0
    coarse: int = 0
    fine: int = 0
    digest: str = ""
    units: Units = field(default_factory=Units)

    @property
    def kept(self) -> float:
        """Share of the coarser tokenization's tokens that were paired by equal ends."""
        return self.pairs / self.coarse if self.coarse else 0.0

    def count(self, document: Text, pairing: Pairing) -> None:
        """Take in one document."""
        self.units.count(document, pairing.exact)
        self.documents += 1
        self.unpaired += not pairing.pairs
        self.pairs += pairing.exact
        self.relaxed += len(pairing.pairs) - pairing.exact
        self.coarse += pairing.coarse
        self.fine += pairing.fine
        own = hashlib.sha256(document.text.encode("utf-8", "surrogatepass")).hexdigest()
        self.digest = hashlib.sha256((self.digest + own).encode()).hexdigest()[:16]


class _Item(NamedTuple):
    number: int
    part: Part
    source: list[int]
    target: list[int]
    pairing: Pairing


def paired_rows(
    source: LM,
    target: LM,
    documents: Iterable[Text],
    source_layers: Sequence[int],
    target_layers: Sequence[int],
    tally: Tally,
    relaxed: bool = False,
    max_tokens: int = 512,
    batch_size: int = 32,
    split: Split = Split(),
) -> Iterator[Rows]:
    """Read both LMs on every document, some documents at a time.

    Args:
        source: LM that maps start from.
        target: LM that they lead to.
        documents: Read once, in their order.
        source_layers: Blocks of the source after which its residual stream is read.
        target_layers: The same of the target.
        tally: Counted into.
        relaxed: Pair tokens that end in the same word too; marked.
        max_tokens: Tokens of a document that are read at most, by each model.
        batch_size: Rows a forward.
        split: What each document is for.

    Raises:
        UserError: A tokenizer whose tokens have no bytes, or a layer that there is not.
    """
    for items in _items(source, target, documents, tally, relaxed, max_tokens, split):
        for some in _in_budget(items, source, target, len(source_layers), len(target_layers)):
            yield from _read(source, target, some, source_layers, target_layers, batch_size)


def source_rows(
    source: LM,
    target: LM,
    documents: Iterable[Text],
    layers: Sequence[int],
    tally: Tally,
    max_tokens: int = 512,
    batch_size: int = 32,
    split: Split = Split(),
) -> Iterator[tuple[Part, Tensor]]:
    """Read the source alone, at all tokens that have a partner; the target lends its tokenizer.

    Args:
        source: LM that is read.
        target: LM that is not.
        documents: Read once.
        layers: Blocks of the source; none to count pairs only.
        tally: Counted into.
        max_tokens: Tokens of a document that are read at most.
        batch_size: Rows a forward.
        split: What each document is for.

    Returns:
        What some documents are for, with their `(layers, rows, source width)` float32.

    Raises:
        UserError: As for `paired_rows`.
    """
    for items in _items(source, target, documents, tally, False, max_tokens, split):
        for some in _in_budget(items, source, target, len(layers), 0):
            read = source.token_activations([i.source for i in some], layers, batch_size) if layers else []
            for part in PARTS:
                mine = [k for k, item in enumerate(some) if item.part == part and layers]
                if mine:
                    yield part, torch.cat([_at(read[k], _sources(some[k])) for k in mine], dim=1)


def _items(
    source: LM,
    target: LM,
    documents: Iterable[Text],
    tally: Tally,
    relaxed: bool,
    max_tokens: int,
    split: Split,
) -> Iterator[list[_Item]]:
    """Documents with their pairs, some at a time, short ones first, so that little is padding."""
    readers = Reader(source.resident, max_tokens), Reader(target.resident, max_tokens)
    stream = enumerate(documents)
    while texts := list(islice(stream, _AT_ONCE)):
        items = []
        for number, document in texts:
            (ids, ends), (others, other_ends) = (reader.read(document.text) for reader in readers)
            raw = document.text.encode("utf-8", "surrogatepass")
            pairing = merge(ends, other_ends, raw, relaxed)
            tally.count(document, pairing)
            if pairing.pairs:
                items.append(_Item(number, split.part_of(document), ids, others, pairing))
        items.sort(key=lambda item: len(item.target))
        yield items


def hidden_width(lm: LM) -> int:
    """Width of the residual stream."""
    return lm.resident.width


def _in_budget(items: Sequence[_Item], source: LM, target: LM, n: int, m: int) -> Iterator[list[_Item]]:
    a_token = 4 * n * hidden_width(source), 4 * m * hidden_width(target)
    held: list[_Item] = []
    used = 0
    for item in items:
        size = len(item.source) * a_token[0] + len(item.target) * a_token[1]
        if held and used + size > _BUDGET:
            yield held
            held, used = [], 0
        held.append(item)
        used += size
    if held:
        yield held


def _read(
    source: LM,
    target: LM,
    items: Sequence[_Item],
    source_layers: Sequence[int],
    target_layers: Sequence[int],
    batch_size: int,
) -> Iterator[Rows]:
    left = source.token_activations([item.source for item in items], source_layers, batch_size)
    right = target.token_activations([item.target for item in items], target_layers, batch_size)
    for part in PARTS:
        mine = [k for k, item in enumerate(items) if item.part == part]
        if mine:
            pairs = [pair for k in mine for pair in items[k].pairing.pairs]
            yield Rows(
                part,
                torch.cat([_at(left[k], _sources(items[k])) for k in mine], dim=1),
                torch.cat([_at(right[k], [p.target for p in items[k].pairing.pairs]) for k in mine], dim=1),
                torch.tensor([pair.relaxed for pair in pairs]),
                torch.tensor([items[k].number for k in mine for _ in items[k].pairing.pairs]),
            )


def _sources(item: _Item) -> list[int]:
    return [pair.source for pair in item.pairing.pairs]


def _at(states: Tensor, positions: Sequence[int]) -> Tensor:
    return states[:, list(positions)]
