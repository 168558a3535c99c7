"""Which documents a map is fitted on, which lambda and the layer are chosen on, and which are reported on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from dipole.corpora.corpus import owner_of

Part = Literal["fit", "choose", "test"]
PARTS: tuple[Part, ...] = ("fit", "choose", "test")
FEW = 100
"""Files or documents up to which each is counted, so that a hash that leaves a part empty is found out."""
_LEAST_FIT = 0.5


class Text(Protocol):
    """A document of a corpus."""

    @property
    def id(self) -> str:
        """Its name; `file#k` if it is a passage of a file."""
        ...

    @property
    def text(self) -> str:
        """What it says."""
        ...


def _is_passage(document: Text) -> bool:
    return owner_of(document.id) != document.id


def unit_of(document: Text, whole: bool = True) -> int:
    """What stays together, as a hash: the file of a passage; of any other document its text.

    So passages of one file, and copies of a document, are on one side, and adding documents moves none.

    Args:
        document: It.
        whole: Off, passages are hashed by their text too.
    """
    name = owner_of(document.id) if whole and _is_passage(document) else document.text
    # Neither a text nor the name of a file need be UTF-8.
    return int.from_bytes(hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8], "big")


@dataclass(frozen=True)
class Split:
    """What each document is for: 8 of 10 to fit on, 1 to choose lambda and layers on, 1 to report on.

    Attributes:
        whole: Whether passages of one file stay together.
        places: The part of each unit, where there are few; by their hash alone otherwise.
    """

    whole: bool = True
    places: Mapping[int, Part] = field(default_factory=dict)

    def part_of(self, document: Text) -> Part:
        """What a document is for."""
        unit = unit_of(document, self.whole)
        return self.places.get(unit) or _by_hash(unit)


def _by_hash(unit: int) -> Part:
    tenth = unit % 10
    return "choose" if tenth == 0 else "test" if tenth == 1 else "fit"


def _by_rank(rank: int, tenth: int) -> Part:
    return "choose" if rank < tenth else "test" if rank < 2 * tenth else "fit"


@dataclass
class Units:
    """How many pairs each file, or document that is no passage, has; memory does not grow with the corpus.

    Attributes:
        pairs: Pairs of each unit; of the first `FEW` + 1 alone.
        passages: Whether there are passages.
    """

    pairs: dict[int, int] = field(default_factory=dict)
    passages: bool = False

    def count(self, document: Text, pairs: int) -> None:
        """Take in a document."""
        self.passages = self.passages or _is_passage(document)
        unit = unit_of(document)
        if pairs and (unit in self.pairs or len(self.pairs) <= FEW):
            self.pairs[unit] = self.pairs.get(unit, 0) + pairs

    def split(self) -> Split:
        """By hash; of a few units the first tenths in the order of their hashes; or files are cut.

        Each has to leave something in every part, and half of the pairs to fit on, before it is taken.
        """
        if len(self.pairs) > FEW or self._is_fair({unit: _by_hash(unit) for unit in self.pairs}):
            return Split()
        tenth = max(1, round(len(self.pairs) / 10))
        places = {unit: _by_rank(k, tenth) for k, unit in enumerate(sorted(self.pairs))}
        return Split(places=places) if self._is_fair(places) else Split(whole=not self.passages)

    def _is_fair(self, places: Mapping[int, Part]) -> bool:
        found = dict.fromkeys(PARTS, 0)
        for unit, pairs in self.pairs.items():
            found[places[unit]] += pairs
        return min(found.values()) > 0 and found["fit"] >= _LEAST_FIT * sum(found.values())
