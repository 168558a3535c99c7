"""Source texts that can be quoted: their substrings, where words begin and end, and places in them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import regex
from numpy.typing import NDArray

from dipole.files.paths import given_file, given_path
from dipole.interventions.pools.sorted_texts import Bytes, Places, SortedTexts
from dipole.interventions.pools.suffixes import sort_suffixes
from dipole.interventions.pools.vocabulary import Ints
from dipole.types import UserError

_WORD = regex.compile(r"[\w\p{M}]+(?:[-'’][\w\p{M}]+)*")  # a Hindi vowel sign is a mark, and no boundary
_SOLID = re.compile(r"[^\s\ufeff\0]+")
_BLANK = re.compile(rb"[ \t\n\r\0]")
_LARGEST = 2**31 - 32
_PADDING = bytes(8)  # as `sort_suffixes` wants
_PIECE, _BLOCK = 1 << 16, 1 << 20
_NONE = np.zeros(0, dtype=np.int32)


@dataclass(frozen=True)
class Document:
    """A text that can be quoted.

    Attributes:
        name: Its name in attributions.
        data: All of it, in UTF-8: a `str` takes up to four times as much.
    """

    name: str
    data: bytes

    def __post_init__(self) -> None:
        """Refuse what is no text."""
        if 0 in self.data:
            raise UserError(f"{self.name} is not a text: it holds NUL characters; give a text file.")
        try:
            for _ in _pieces(self.data):
                pass
        except UnicodeDecodeError as error:
            raise UserError(f"The source {self.name} is not in UTF-8 ({error}); convert it.") from None

    @classmethod
    def of(cls, name: str, text: str) -> Document:
        """The document that holds a text."""
        return cls(name, text.encode("utf-8"))


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
        if sum(len(d.data) + 1 for d in self.documents) > _LARGEST:
            raise UserError("The sources have more than 2 GiB together; quote from fewer of them.")

    @cached_property
    def characters(self) -> str:
        """Every character that the documents hold, once."""
        found: set[str] = set()
        for document in self.documents:
            for _, text in _pieces(document.data):
                found.update(text)
        return "".join(sorted(found))

    @cached_property
    def _first_bytes(self) -> Ints:
        """Where each document begins among the bytes of all, a 0 behind each."""
        lengths = [len(d.data) + 1 for d in self.documents]
        return np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)

    @cached_property
    def _built(self) -> tuple[_Bounds, SortedTexts]:
        joined = bytearray()
        for document in self.documents:
            joined += document.data
            joined.append(0)
        joined += _PADDING
        bounds, starts = _bounds(joined, [text.encode() for text in self.breaks])
        zeros = np.flatnonzero(bounds.data == 0).astype(np.int32)
        order = sort_suffixes(bounds.data, starts)
        del starts
        chosen = [order[:0]]
        for low in range(0, len(order), _BLOCK):
            part = order[low : low + _BLOCK]
            close = zeros[np.searchsorted(zeros, part)]  # the 0 that ends the stretch
            chosen.append(part[bounds.words_before(close) - bounds.words_before(part) >= self.min_words])
        return bounds, SortedTexts(bounds.data, np.concatenate(chosen))

    @property
    def quotable(self) -> SortedTexts:
        """All places at which a quote may begin, in sorted order; built when first needed.

        Raises:
            UserError: There is none.
        """
        found = self._built[1]
        if not len(found):
            raise UserError(
                f"The source {self.documents[0].name} has no {self.min_words} words in a row to quote; ask "
                "for fewer words a quote, or give another source."
            )
        return found

    def whole(self, low: int, high: int, depth: int) -> Ints:
        """Where the occurrences begin that are whole quotes.

        Args:
            low: First of an interval of `quotable`.
            high: The one behind its last.
            depth: Bytes of the quote so far.
        """
        places = self.quotable.starts[low:high]
        if len(places):
            first, behind = self._built[0].words_before(places[0] + np.array([0, depth], dtype=np.int32))
            if behind - first >= self.min_words:  # how many words a text has is the same wherever it stands
                return places[self._built[0].is_end[places + depth]].astype(np.int64)
        return np.zeros(0, dtype=np.int64)

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
        """Name of the document, and first and behind-last character there, of bytes of all of them."""
        index = int(np.searchsorted(self._first_bytes, at, "right")) - 1
        data, first = self.documents[index].data, at - int(self._first_bytes[index])
        start = _characters(data, 0, first)
        return self.documents[index].name, start, start + _characters(data, first, first + length)

    def _found(self, text: bytes, beyond: int = 0) -> int:
        """The first place from `beyond` on at which bytes stand, at a word or anywhere else; -1 for none."""
        for begin, document in zip(self._first_bytes.tolist(), self.documents, strict=True):
            at = document.data.find(text, max(0, beyond - begin))
            if at >= 0:
                return int(begin + at)
        return -1

    def occurrences(self, quote: str) -> list[Segment]:
        """Every place at which a text stands as a whole quote, in the order of the documents."""
        text = quote.encode("utf-8")
        places = sorted(self.whole(*self.quotable.find(text), len(text)).tolist())
        return [Segment(quote, *self.place(at, len(text)), complete=True) for at in places]

    def attribute(self, text: str) -> Segment:
        """The first place at which a text stands, as a whole quote if it does anywhere."""
        data = text.encode("utf-8")
        low, high = self.quotable.find(data)
        whole = self.whole(low, high, len(data))
        at = int(whole.min()) if len(whole) else self._found(data) if data else -1
        if at < 0:
            return Segment(text, None)
        return Segment(text, *self.place(at, len(data)), complete=bool(len(whole)))

    def fewest_quotes(self, text: str) -> list[Segment]:
        """Cut a text into the fewest pieces that each stand somewhere in the sources.

        Takes the longest piece each time, which is optimal because every part of a piece stands in the
        sources too. Word boundaries don't count here. A character that no source has is a piece of its own.
        """
        data, at, found = text.encode("utf-8"), 0, list[Segment]()
        while at < len(data):
            place, end = self._longest(data, at)
            while end < len(data) and end > at and data[end] & 0xC0 == 0x80:
                end -= 1  # not inside a character
            if end > at:
                found.append(Segment(data[at:end].decode("utf-8"), *self.place(place, end - at)))
            else:
                character = data[at:].decode("utf-8", "ignore")[0]
                found.append(Segment(character, None))
                end += len(character.encode("utf-8"))
            at = end
        return found

    def _longest(self, data: bytes, at: int) -> tuple[int, int]:
        """Where the longest piece of `data` from `at` on stands first, and where it ends in `data`."""
        place, good, bad, step = 0, at, len(data) + 1, 1
        while good + 1 < bad:
            end = min(good + step, bad - 1)
            # What is longer stands nowhere that what is shorter does not.
            found = self._found(data[at:end], place)
            if found < 0:
                bad, step = end, max(1, (end - good) // 2)
            else:
                place, good, step = found, end, 2 * step if bad > len(data) else max(1, (bad - end) // 2)
        return place, good


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
    is_end: NDArray[np.bool_]  # whether a quote may end before each byte
    words: Places  # bytes at which a word begins

    def words_before(self, places: Places) -> Ints:
        """How many words begin before each place."""
        counts: Ints = np.searchsorted(self.words, places)
        return counts


def _bounds(data: bytearray, breaks: Sequence[bytes]) -> tuple[_Bounds, Places]:
    """Word boundaries in documents with a 0 behind each, which are made into what may be quoted.

    Beside them the bytes at which a quote may begin.
    """
    for mark in breaks:
        at = data.find(mark)
        while at >= 0:
            data[at : at + len(mark)] = bytes(len(mark))
            at = data.find(mark, at + len(mark))
    is_end = bytearray(len(data) + 1)
    starts, words = [_NONE], [_NONE]
    for begin, text in _pieces(data):
        places = _byte_places(text) + begin
        word, solid = _spans(_WORD, text), _spans(_SOLID, text)
        starts.append(places[np.union1d(word[:, 0], solid[:, 0])].astype(np.int32))
        words.append(places[word[:, 0]].astype(np.int32))
        ends = np.frombuffer(is_end, dtype=np.uint8)
        ends[places[np.concatenate([word[:, 1], solid[:, 1]])]] = 1
    # Blanks at the end of a stretch lead nowhere, so a stretch stops behind the last of its text.
    before, close = 0, data.find(0)
    while close >= 0:
        stop = max(before, is_end.rfind(1, before, close + 1))
        data[stop:close] = bytes(close - stop)
        before, close = close + 1, data.find(0, close + 1)
    found = np.frombuffer(data, dtype=np.uint8), np.frombuffer(is_end, dtype=bool), np.concatenate(words)
    return _Bounds(*found), np.concatenate(starts)


def _spans(pattern: re.Pattern[str], text: str) -> Ints:
    return np.array([match.span() for match in pattern.finditer(text)], dtype=np.int64).reshape(-1, 2)


def _byte_places(text: str) -> Ints:
    """Byte at which each character of a text begins, and the one behind the last."""
    if text.isascii():
        return np.arange(len(text) + 1)
    data = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    return np.append(np.flatnonzero((data & 0xC0) != 0x80), len(data))


def _pieces(data: bytes | bytearray) -> Iterator[tuple[int, str]]:
    """A text in pieces that end before blanks, where neither words nor characters go on.

    Raises:
        UnicodeDecodeError: It is not UTF-8.
    """
    begin = 0
    while begin < len(data):
        blank = _BLANK.search(data, begin + _PIECE)
        end = blank.start() if blank else len(data)
        yield begin, bytes(data[begin:end]).decode("utf-8")
        begin = end


def _characters(data: bytes, low: int, high: int) -> int:
    """How many characters begin in a part of UTF-8."""
    parts = (np.frombuffer(data[k : min(k + _BLOCK, high)], dtype=np.uint8) for k in range(low, high, _BLOCK))
    return sum(int(np.count_nonzero((part & 0xC0) != 0x80)) for part in parts)


def read_sources(files: Sequence[str]) -> tuple[Document, ...]:
    """Documents from files.

    Args:
        files: Files, or folders, which stand for all their .txt and .md files.

    Raises:
        UserError: One can't be read, is no text in UTF-8, or stands twice.
    """
    paths = source_files(files)
    return tuple(Document(path.name if len(paths) == 1 else str(path), _read(path)) for path in paths)


def source_files(files: Sequence[str]) -> list[Path]:
    """The files that `read_sources` reads.

    Raises:
        UserError: One is not there, is no file, or stands twice.
    """
    paths: list[Path] = []
    for part in files:
        path = given_path(part, "The source")
        inside = sorted(p for p in path.glob("*") if p.suffix in (".txt", ".md")) if path.is_dir() else [path]
        if not inside:
            raise UserError(f"The folder {part} has no .txt or .md file to quote from; give one that has.")
        paths += [given_file(each, "The source") for each in inside]
    if not paths:
        raise UserError("There is no source to quote from; give source=… with a text file.")
    for one, other in itertools.combinations(paths, 2):
        if one == other:
            raise UserError(f"The source {one} is given twice; give it once.")
    return paths


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"The source {path} can't be read ({error}); give a text file in UTF-8.") from error
