"""The header of a GGUF file: what it says of its model, and where each tensor lies.

Read here, and not by the package `gguf`, because that one takes seconds for a vocabulary, and trusts every
length that a file states. Nothing is read beyond the file's end, and no tensor is read at all.
Source: github.com/ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))
_STRING, _ARRAY = 8, 9
_KEPT = 64  # numbers of an array that are kept: shapes and sections, but no scores of a vocabulary
_MOST_DIMENSIONS = 8


class Malformed(Exception):
    """What is wrong with the file, and what to do, as the rest of a sentence about it."""

    def __init__(self, what: str, remedy: str = "copy it again from where it came from") -> None:
        """Join the two."""
        super().__init__(f"{what}; {remedy}")


class Stored(NamedTuple):
    """One tensor as it lies in the file.

    Attributes:
        name: As llama.cpp calls it.
        shape: In torch's order.
        kind: Number of its type in ggml.
        start: First byte, from the beginning of the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    start: int

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """What a GGUF file says of its model.

    Attributes:
        facts: Its key-value pairs. An array of more than 64 items, or of strings, is its length.
        tensors: In the file's order.
        size: Bytes of the file.
    """

    facts: Mapping[str, Any]
    tensors: tuple[Stored, ...]
    size: int

    @property
    def architecture(self) -> str:
        """As llama.cpp calls it; empty where the file names none."""
        return str(self.facts.get("general.architecture", ""))

    def of_architecture(self, key: str) -> Any:
        """What the file says under a key of its architecture; None where nothing."""
        return self.facts.get(f"{self.architecture}.{key}")


def read_header(path: Path) -> Header:
    """Read the header of a GGUF file.

    Raises:
        Malformed: It is none, or ends within its header, or says what can't be.
        OSError: It can't be read.
    """
    size = path.stat().st_size
    if not size:
        raise Malformed("is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if data[:4] != MAGIC:
            raise Malformed("is no GGUF file, whatever its name says")
        try:
            return _Reader(data).header()
        except struct.error:
            raise Malformed("ends within its header") from None
        except UnicodeDecodeError:
            raise Malformed("has a header that is no text where it should be") from None


class _Reader:
    """Goes through a file from the front."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 4

    def header(self) -> Header:
        (version,) = self._take("I")
        if version not in _VERSIONS:
            swapped = int.from_bytes(struct.pack("<I", version), "big") in _VERSIONS
            what = "is big-endian" if swapped else f"is of version {version} of GGUF"
            raise Malformed(what, "convert the model again with llama.cpp's convert_hf_to_gguf.py")
        tensors, facts = self._take("QQ")
        self._within(tensors * 24 + facts * 12)  # at least so many bytes
        found = {}
        for _ in range(facts):
            key = self._string()
            found[key] = self._value(*self._take("I"))
        stored = [self._tensor() for _ in range(tensors)]
        step = found.get("general.alignment", 32)
        if not isinstance(step, int) or step < 1:
            raise Malformed(f"says that its tensors are aligned to {step!r} bytes")
        start = -(-self._at // step) * step
        placed = tuple(tensor._replace(start=start + tensor.start) for tensor in stored)
        return Header(found, placed, len(self._data))

    def _take(self, form: str) -> tuple[Any, ...]:
        form = f"<{form}"
        found = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return found

    def _within(self, length: int) -> None:
        if length > len(self._data) - self._at:
            raise Malformed("ends within its header")

    def _skip_string(self) -> slice:
        (length,) = self._take("Q")
        self._within(length)
        self._at += length
        return slice(self._at - length, self._at)

    def _string(self) -> str:
        return self._data[self._skip_string()].decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind == _ARRAY:
            return self._array(*self._take("IQ"))
        if kind not in _NUMBERS:
            raise Malformed(f"has a header with a value of the unknown kind {kind}")
        return self._take(_NUMBERS[kind])[0]

    def _array(self, kind: int, count: int) -> list[Any] | int:
        if kind == _STRING:
            for _ in range(count):
                self._skip_string()
            return count
        if kind not in _NUMBERS:
            raise Malformed(f"has a header with an array of the unknown kind {kind}")
        length = count * struct.calcsize(_NUMBERS[kind])
        self._within(length)
        if count <= _KEPT:
            return list(self._take(f"{count}{_NUMBERS[kind]}"))
        self._at += length
        return count

    def _tensor(self) -> Stored:
        name = self._string()
        (dimensions,) = self._take("I")
        if dimensions > _MOST_DIMENSIONS:
            raise Malformed(f"has a tensor {name[:60]!r} of {dimensions} dimensions")
        shape = self._take(f"{dimensions}Q")
        kind, start = self._take("IQ")
        return Stored(name, tuple(reversed(shape)), kind, start)
