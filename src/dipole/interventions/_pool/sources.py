"""Source texts that can be quoted: their substrings, where words begin and end, and places in them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dipole.interventions._pool.sorted_texts import Bytes, SortedTexts, suffix_order
from dipole.interventions._pool.vocabulary import Ints
from dipole.paths import given_file, given_path
from dipole.types import UserError

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")
_SOLID = re.compile(r"[^\s\ufeff\0]+")
_LARGEST = 2**31 - 16


@dataclass(frozen=True)
class Document:
    """A text that can be quoted.

    Attributes:
        name: Its name in attributions.
        text: All of it.
    """

    name: str
    text: str


@dataclass(frozen=True)
class Segment:
    """A part of a text and where it stands in a source: `text == source[start:end]`.

    Attributes:
        text: The part.
        document: Name of the source; None where no source has the part.
        start: Its first character in the source, counted in characters.
        end: The one behind its last.
        complete: Whether it begins and ends at word boundaries of the source and has the words it needs; a
            text that its token budget cut short ends in a segment that may not.
    """

    text: str
    document: str | None
    start: int | None = None
    end: int | None = None
    complete: bool = False


@dataclass(frozen=True)
class Sources:
    """Documents, and what may be quoted of them.

    A quote begins at the first character of a word or of what follows a blank, and ends at the last character
    of a word or of what comes before one. A word is letters, digits and underscores, with single hyphens and
    apostrophes inside. A script that writes no blanks between words is one word up to its punctuation.

    Attributes:
        documents: The documents.
        min_words: Words that a quote has at least.
        breaks: Texts that no quote may contain, because they mark where one ends.
    """

    documents: tuple[Document, ...]
    min_words: int = 1
    breaks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be quoted."""
        if not self.documents:
            raise UserError("There is no source to quote from; give at least one file.")
        for document in self.documents:
            if "\0" in document.text:
                raise UserError(f"{document.name} is not a text: it holds NUL characters; give a text file.")

    @cached_property
    def data(self) -> Bytes:
        """All documents in UTF-8, a 0 behind each."""
        joined = "\0".join([*(d.text for d in self.documents), ""]).encode("utf-8")
        if len(joined) > _LARGEST:
            raise UserError("The sources have more than 2 GiB together; quote from fewer of them.")
        return np.frombuffer(joined, dtype=np.uint8)

    @cached_property
    def _first_bytes(self) -> Ints:
        """Where each document begins in `data`."""
        lengths = [len(d.text.encode("utf-8")) + 1 for d in self.documents]
        return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)

    @cached_property
    def _bounds(self) -> _Bounds:
        joined = "\0".join([*(d.text for d in self.documents), ""])
        return _bounds(joined, self.data, self.breaks)

    @cached_property
    def quotable(self) -> SortedTexts:
        """All places at which a quote may begin, in sorted order; built in about a second a megabyte.

        Raises:
            UserError: There is none.
        """
        bounds = self._bounds
        begins = np.zeros(len(bounds.data), dtype=bool)
        zeros = np.flatnonzero(bounds.data == 0)
        close = zeros[np.searchsorted(zeros, bounds.starts)]  # the 0 that ends the stretch
        begins[bounds.starts] = bounds.words[close] - bounds.words[bounds.starts] >= self.min_words
        order = suffix_order(bounds.data)
        chosen = order[begins[order]]
        if not len(chosen):
            raise UserError(
                f"The source {self.documents[0].name} has no {self.min_words} words in a row to quote; ask "
                "for fewer words a quote, or give another source."
            )
        return SortedTexts(bounds.data, chosen)

    @cached_property
    def everything(self) -> SortedTexts:
        """All places in the sources, in sorted order."""
        order = suffix_order(self.data)
        return SortedTexts(self.data, order[self.data[order] != 0])

    def whole(self, low: int, high: int, depth: int) -> Ints:
        """Where the occurrences begin that are whole quotes.

        Args:
            low: First of an interval of `quotable`.
            high: The one behind its last.
            depth: Bytes of the quote so far.
        """
        places = self.quotable.starts[low:high].astype(np.int64)
        words = self._bounds.words
        if not len(places) or words[places[0] + depth] - words[places[0]] < self.min_words:
            return places[:0]  # how many words a text has is the same wherever it stands
        return places[self._bounds.is_end[places + depth]]

    def whole_any(self, low: Ints, high: Ints, depth: Ints) -> NDArray[np.bool_]:
        """For each interval whether some occurrence is a whole quote, `(n,)`."""
        return np.array(
            [
                len(self.whole(*row)) > 0
                for row in zip(low.tolist(), high.tolist(), depth.tolist(), strict=True)
            ],
            dtype=bool,
        )

    def place(self, at: int, length: int) -> tuple[str, int, int]:
        """Name of the document, and first and behind-last character there, of bytes of `data`."""
        index = int(np.searchsorted(self._first_bytes, at, "right")) - 1
        first = int(self._first_bytes[index])
        start = _characters(self.data[first:at])
        return self.documents[index].name, start, start + _characters(self.data[at : at + length])

    def occurrences(self, quote: str) -> list[Segment]:
        """Every place at which a text stands as a whole quote, in the order of the documents."""
        text = quote.encode("utf-8")
        places = sorted(self.whole(*self.quotable.find(text), len(text)).tolist())
        return [Segment(quote, *self.place(at, len(text)), complete=True) for at in places]

    def attribute(self, text: str) -> Segment:
        """The first place at which a text stands, as a whole quote if it does anywhere."""
        data = text.encode("utf-8")
        for index in (self.quotable, self.everything):
            low, high = index.find(data)
            whole = self.whole(low, high, len(data)) if index is self.quotable else ()
            places = whole if len(whole) else index.starts[low:high]
            if data and len(places):
                return Segment(text, *self.place(int(np.min(places)), len(data)), complete=bool(len(whole)))
        return Segment(text, None)

    def fewest_quotes(self, text: str) -> list[Segment]:
        """Cut a text into the fewest pieces that each stand somewhere in the sources.

        Takes the longest piece each time, which is optimal because every part of a piece stands in the
        sources too. Word boundaries don't count here. A character that no source has is a piece of its own.
        """
        data, at, found = text.encode("utf-8"), 0, []
        while at < len(data):
            end = at + self.everything.longest(data[at:])
            while end < len(data) and end > at and data[end] & 0xC0 == 0x80:
                end -= 1  # not inside a character
            if end > at:
                low, high = self.everything.find(data[at:end])
                place = self.place(int(self.everything.starts[low:high].min()), end - at)
                found.append(Segment(data[at:end].decode("utf-8"), *place))
            else:
                character = data[at:].decode("utf-8")[0]
                found.append(Segment(character, None))
                end += len(character.encode("utf-8"))
            at = end
        return found


def coverage(segments: Sequence[Segment]) -> dict[str, float]:
    """How much of a text its sources cover, for an audit.

    Returns:
        `share` of its characters that stand in a source, `segments` that do, their `mean_length` in
        characters, and how many `sources` they are from.
    """
    known = [s for s in segments if s.document is not None]
    characters = sum(len(s.text) for s in known)
    total = sum(len(s.text) for s in segments)
    return {
        "share": characters / total if total else 0.0,
        "segments": float(len(known)),
        "mean_length": characters / len(known) if known else 0.0,
        "sources": float(len({s.document for s in known})),
    }


@dataclass(frozen=True, eq=False)
class _Bounds:
    data: Bytes  # as it may be quoted: 0 where no quote may go on
    starts: Ints  # bytes at which a quote may begin
    is_end: NDArray[np.bool_]  # whether a quote may end before each byte
    words: NDArray[np.int32]  # words that begin before each byte


def _bounds(joined: str, data: Bytes, breaks: Sequence[str]) -> _Bounds:
    """Word boundaries in bytes of documents that are joined with NUL."""
    for text in breaks:
        joined = joined.replace(text, "\0" * len(text))
    at = np.flatnonzero((data & 0xC0) != 0x80)  # first byte of each character
    at = np.append(at, len(data))
    words = np.array([m.span() for m in _WORD.finditer(joined)], dtype=np.int64).reshape(-1, 2)
    solid = np.array([m.span() for m in _SOLID.finditer(joined)], dtype=np.int64).reshape(-1, 2)
    starts = np.union1d(words[:, 0], solid[:, 0])
    ends = np.union1d(words[:, 1], solid[:, 1])
    is_end = np.zeros(len(data) + 1, dtype=bool)
    is_end[at[ends]] = True
    counted = np.zeros(len(data) + 1, dtype=np.int32)
    counted[at[words[:, 0]] + 1] = 1
    quotable = np.zeros(len(data), dtype=np.uint8)
    # Blanks at the end of a stretch lead nowhere, so a stretch stops behind the last of its text.
    for low, high in _stretches(joined):
        quotable[at[low] : at[high]] = data[at[low] : at[high]]
    return _Bounds(quotable, at[starts], is_end, np.cumsum(counted, dtype=np.int32))


def _stretches(joined: str) -> list[tuple[int, int]]:
    """First and behind-last character of each stretch between NULs, blanks around it left out."""
    found, at = [], 0
    for part in joined.split("\0"):
        core = part.strip("\ufeff \t\r\n\v\f\x1c\x1d\x1e\x1f\x85\xa0").strip()
        if core:
            low = at + part.index(core)
            found.append((low, low + len(core)))
        at += len(part) + 1
    return found


def _characters(data: Bytes) -> int:
    return int(np.count_nonzero((data & 0xC0) != 0x80))


def read_sources(files: Sequence[str]) -> tuple[Document, ...]:
    """Documents from files.

    Args:
        files: Files, or folders, which stand for all their .txt and .md files.

    Raises:
        UserError: One can't be read, is no text in UTF-8, or stands twice.
    """
    paths: list[Path] = []
    for part in files:
        path = given_path(part, "The source")
        inside = sorted(p for p in path.glob("*") if p.suffix in (".txt", ".md")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"The folder {part} has no .txt or .md file to quote from; give one that has.")
        paths += inside
    if not paths:
        raise UserError("There is no source to quote from; give --source with a text file.")
    for one, other in itertools.combinations(paths, 2):
        if one == other:
            raise UserError(f"The source {one} is given twice; give it once.")
    return tuple(Document(path.name if len(paths) == 1 else str(path), _read(path)) for path in paths)


def _read(path: Path) -> str:
    try:
        return given_file(path, "The source").read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The source {path} can't be read ({error}); give a text file in UTF-8.") from error
