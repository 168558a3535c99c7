"""Sorting the suffixes of a text that begin at given places, in little memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dipole.interventions.pools.sorted_texts import Bytes, Ints, Places

_PART = 1 << 16  # suffixes that are sorted at once; what is needed meanwhile is 60 times as many bytes
_FIRST = 16  # bits of the text by which the units are ordered first of all
_LONG = 64  # bytes of a unit that are compared eight at a time
# Length in bytes of the character that begins with each byte.
_CHARACTER = np.array([0] + [1] * 191 + [2] * 32 + [3] * 16 + [4] * 16, dtype=np.int64)
_MASKS = np.array([(1 << 64) - (1 << (64 - 8 * k)) for k in range(9)], dtype=np.uint64)


def sort_suffixes(data: Bytes, places: Places) -> Places:
    """The places in sorted order of what stands there, each suffix up to the next 0.

    What stands between a place and the next is a unit. First the units are ordered by their bytes, eight at a
    time, each with the character behind it; then the suffixes by the ranks of 1, 2, 4, … units (prefix
    doubling, Manber and Myers 1993, over units in place of bytes). Suffixes that are the same so far stand
    side by side and are sorted among themselves, some thousands at a time; a rank that has just become finer
    serves the others at once (Larsson and Sadakane 2007). Equal suffixes come in any order.

    It needs 13 bytes a place, beside the data.

    Args:
        data: UTF-8 with a 0 behind each text and eight more at the end.
        places: Where suffixes begin, ascending, at characters. Where two of them begin with the same
            characters, the next place must come after as many bytes in both, if those characters reach so
            far: what is a place must be told by what stands before it.
    """
    if not len(places):
        return places
    zeros = np.flatnonzero(data == 0).astype(np.int32)
    sorting = _Sorting(data, places, zeros)
    for depth in range(8, _LONG + 8, 8):
        if not sorting.refine(partial(sorting.bytes_at, depth=depth)):
            break
    sorting.refine(sorting.tails())
    sorting.rank_all()
    width = 1
    while width < len(places) and sorting.refine(partial(sorting.ranks_behind, width=width)):
        width *= 2
    return places[sorting.order]


Keys = Callable[[NDArray[np.int32]], NDArray[np.int64] | NDArray[np.uint64]]


@dataclass(eq=False)
class _Sorting:
    """Units in an order that becomes finer; `head` marks the first of those that are the same so far."""

    data: Bytes
    places: Places
    zeros: Places

    def __post_init__(self) -> None:
        self.words = np.ndarray(len(self.data) - 7, dtype=">u8", buffer=self.data.data, strides=(1,))
        start = np.empty(len(self.places), dtype=np.uint16)
        for low in range(0, len(start), _PART):
            units = np.arange(low, min(low + _PART, len(start)), dtype=np.int32)
            start[units] = self.bytes_at(units, 0) >> np.uint64(64 - _FIRST)
        self.order = _counted_order(start)
        self.head = np.ones(len(start), dtype=bool)
        start = start[self.order]
        self.head[1:] = start[1:] != start[:-1]
        self.ranks = np.zeros(0, dtype=np.int32)
        # The first unit of the text behind each.
        self.edges = np.searchsorted(self.places, self.zeros).astype(np.int32)
        self.refine(partial(self.bytes_at, depth=0))

    def lengths(self, units: NDArray[np.int32]) -> Ints:
        """Bytes of each unit with the character behind it."""
        begin = self.places[units].astype(np.int64)
        close = self.zeros[np.searchsorted(self.zeros, begin)].astype(np.int64)
        following = self.places[np.minimum(units + 1, len(self.places) - 1)].astype(np.int64)
        end = np.where((following > begin) & (following < close), following, close)
        lengths: Ints = end - begin + _CHARACTER[self.data[end]]
        return lengths

    def bytes_at(self, units: NDArray[np.int32], depth: int) -> NDArray[np.uint64]:
        """Eight bytes of each unit as a number, 0 behind its end."""
        kept = np.clip(self.lengths(units) - depth, 0, 8)
        at = np.minimum(self.places[units].astype(np.int64) + depth, len(self.words) - 1)
        found: NDArray[np.uint64] = self.words[at].astype(np.uint64) & _MASKS[kept]
        return found

    def tails(self) -> Keys:
        """Ranks of what is left of units too long for `bytes_at`, which are few."""

        def rest(unit: int, length: int) -> bytes:
            begin = int(self.places[unit])
            return self.data[begin + _LONG : begin + length].tobytes()

        def keys(units: NDArray[np.int32]) -> NDArray[np.int64]:
            lengths = self.lengths(units)
            long = np.flatnonzero(lengths > _LONG)
            texts = [rest(*pair) for pair in zip(units[long].tolist(), lengths[long].tolist(), strict=True)]
            number = {text: k for k, text in enumerate(sorted(set(texts)), 1)}
            ranks = np.zeros(len(units), dtype=np.int64)
            ranks[long] = [number[text] for text in texts]
            return ranks

        return keys

    def rank_all(self) -> None:
        """Number the units by where those that are the same begin in the order."""
        self.ranks = np.empty(len(self.order), dtype=np.int32)
        for part in self._parts():
            self.ranks[self.order[part]] = self._heads(part)

    def ranks_behind(self, units: NDArray[np.int32], width: int) -> NDArray[np.int64]:
        """Rank of the unit so many behind; where the text has ended a number of its own, below all ranks."""
        behind = units.astype(np.int64) + width
        last = self.edges[np.searchsorted(self.edges, units, "right")]
        inside = behind < last
        return np.where(
            inside, self.ranks[np.where(inside, behind, 0)], units.astype(np.int64) - len(self.order)
        )

    def refine(self, keys: Keys) -> bool:
        """Sort all that are the same so far by a further key; whether any still are."""
        left = False
        for part in self._parts():
            head = self.head[part]
            alone = head & np.append(head[1:], True)
            if alone.all():
                continue
            at = np.flatnonzero(~alone)
            units, fresh = self.order[part][at], head[at]
            key = keys(units)
            first = np.flatnonzero(fresh)
            parted = np.minimum.reduceat(key, first) != np.maximum.reduceat(key, first)
            busy = np.repeat(parted, np.diff(np.append(first, len(at))))
            left = left or not parted.all()
            if not parted.any():
                continue
            at, units, fresh, key = at[busy], units[busy], fresh[busy], key[busy]
            order = np.lexsort((key, np.cumsum(fresh)))
            key = key[order]
            fresh[1:] |= key[1:] != key[:-1]
            self.order[at + part.start] = units[order]
            self.head[at + part.start] = fresh
            left = left or not fresh.all()
            if len(self.ranks):
                self.ranks[self.order[part]] = self._heads(part)
        return left

    def _parts(self) -> Iterator[slice]:
        """The order in parts that begin at heads."""
        low = 0
        while low < len(self.order):
            high = low + _PART
            while high < len(self.order) and not self.head[high]:
                step = np.flatnonzero(self.head[high : high + _PART])
                high = high + int(step[0]) if len(step) else high + _PART
            high = min(high, len(self.order))
            yield slice(low, high)
            low = high

    def _heads(self, part: slice) -> NDArray[np.int32]:
        """Where in the order those begin that each is the same as."""
        head = self.head[part]
        at = np.where(head, np.arange(part.start, part.start + len(head), dtype=np.int32), 0)
        heads: NDArray[np.int32] = np.maximum.accumulate(at)
        return heads


def _counted_order(keys: NDArray[np.uint16]) -> NDArray[np.int32]:
    """What sorts small numbers, equal ones in their order: numpy's own takes eight bytes for each."""
    parts = [slice(low, low + _PART) for low in range(0, len(keys), _PART)]
    totals = np.zeros(1 << _FIRST, dtype=np.int64)
    for part in parts:
        totals += np.bincount(keys[part], minlength=1 << _FIRST)
    free = np.cumsum(totals) - totals  # where the next one of each goes
    order = np.empty(len(keys), dtype=np.int32)
    for part in parts:
        within = np.argsort(keys[part], kind="stable")
        ordered = keys[part][within]
        counts = np.bincount(ordered, minlength=1 << _FIRST)
        behind = np.arange(len(ordered)) - (np.cumsum(counts) - counts)[ordered]
        order[free[ordered] + behind] = within + part.start
        free += counts
    return order
