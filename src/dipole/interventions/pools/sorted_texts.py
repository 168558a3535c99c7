"""Many byte strings in sorted order: a trie, or the substrings of a source, without nodes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Places = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SortedTexts:
    """Byte strings in sorted order; what begins with a given prefix is an interval of them.

    The interval and the length of the prefix are the node of a trie, which is never built: one step down is a
    binary search of the next byte. Four bytes a string are enough beside the bytes themselves. Over the
    suffixes of a source this is a suffix array, and the prefixes are the substrings of the source; a suffix
    automaton accepts the same language in some 30 bytes a character or more, and knows one occurrence of a
    substring where the interval lists all.

    Attributes:
        data: Bytes of the strings, each with a 0 behind it, which belongs to no string.
        starts: `(strings,)` where each begins, in sorted order of what stands there.
    """

    data: Bytes
    starts: Places

    def __len__(self) -> int:
        """How many strings."""
        return len(self.starts)

    def narrow(self, low: Ints, high: Ints, depth: Ints, byte: Bytes) -> tuple[Ints, Ints]:
        """The strings of each interval that go on with a byte.

        Args:
            low: `(n,)` first string of each interval.
            high: `(n,)` the one behind its last.
            depth: `(n,)` bytes that the strings of the interval share.
            byte: `(n,)` the byte that follows.

        Returns:
            First and behind-last string of each narrower interval; empty where none goes on so, and for 0.
        """
        n = len(low)
        left, right = np.concatenate([low, low]), np.concatenate([high, high])
        target = np.concatenate([byte, byte]).astype(np.int16)
        target[n:] += 1  # the first half finds where the byte begins, the second where it ends
        offset, last = np.concatenate([depth, depth]), len(self.data) - 1
        for _ in range(int((right - left).max(initial=0)).bit_length()):
            middle = (left + right) >> 1
            string = np.minimum(middle, len(self.starts) - 1)
            value = self.data[np.minimum(self.starts[string] + offset, last)]
            below = (value < target) & (left < right)
            left = np.where(below, middle + 1, left)
            right = np.where(below, right, middle)
        first, behind = left[:n], left[n:]
        return first, np.where(byte == 0, first, behind)

    def find(self, text: bytes) -> tuple[int, int]:
        """The interval of strings that begin with a text; empty (equal ends) where there is none."""
        size = len(text)

        def beginning(start: int) -> bytes:
            return self.data[start : start + size].tobytes()

        low = bisect_left(self.starts, text, key=beginning)
        return low, bisect_right(self.starts, text, lo=low, key=beginning)


def sort_texts(texts: Sequence[bytes]) -> SortedTexts:
    """Sorted strings from strings without 0 bytes."""
    ordered = sorted(texts)
    lengths = np.fromiter((len(text) + 1 for text in ordered), dtype=np.int64, count=len(ordered))
    data = np.frombuffer(b"\0".join([*ordered, b""]), dtype=np.uint8)
    starts = np.cumsum(lengths) - lengths
    return SortedTexts(data, starts.astype(np.int32))
