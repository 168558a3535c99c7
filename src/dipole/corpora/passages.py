"""Cutting a text into passages of about so many words, at paragraph or sentence ends where possible."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

from dipole.words import units

# A sentence ends at a full stop, question or exclamation mark, with the quotes and brackets that close there;
# not after a title or a single initial. A full stop of a script without blanks needs none behind it.
_END = re.compile(
    r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\b[A-Z]\.)"
    r"(?:(?<=[.!?…])|(?<=[.!?…][\"'”’)\]]))\s+"
    r"|(?<=[。！？｡।။។])(?![」』”’）〉》])|(?<=[。！？｡][」』”’）〉》])"
)


class Piece(NamedTuple):
    """A sentence, or a part of one.

    Attributes:
        words: Its words, each with what stands behind it; see `dipole.words.units`.
        ends_paragraph: Whether it is the last of its paragraph.
    """

    words: tuple[str, ...]
    ends_paragraph: bool


def passages(lines: Iterable[str], words: int) -> Iterator[str]:
    """Passages of about `words` words; every word of the text is in one of them, in order.

    A passage has from half to twice as many words, unless the whole text is shorter. It ends at the paragraph
    end that is nearest to `words` within a quarter of it, else at the nearest sentence end within half of it,
    else after exactly `words` words. Inside a passage line breaks become spaces and paragraphs are parted by
    an empty line. In Chinese, Japanese, Thai, Lao, Khmer and Burmese each sign or syllable counts as a word.

    Args:
        lines: Lines of the text; an empty one parts paragraphs. Read one paragraph at a time.
        words: Number of words, at least 1.
    """
    pending: list[Piece] = []
    last: list[Piece] = []
    for piece in _pieces(lines):
        pending.append(piece)
        while _count(pending) >= 1.5 * words:
            if last:
                yield _text(last)
            last, pending = _cut(pending, words)
    if last and _count(pending) < words / 2:  # no crumbs: a short rest belongs to what came before it
        last, pending = last + pending, []
    yield from (_text(found) for found in (last, pending) if found)


def sentences(text: str) -> list[str]:
    """The sentences of a text; joined they are the text. Blanks between two belong to the second."""
    ends = [0, *(found.start() for found in _END.finditer(text) if found.end() < len(text)), len(text)]
    return [text[first:last] for first, last in pairwise(ends) if first < last]


def _cut(pieces: list[Piece], words: int) -> tuple[list[Piece], list[Piece]]:
    """The first passage of the pieces, which have at least 1.5 × `words` words, and the rest."""
    ends, total = [], 0
    for number, piece in enumerate(pieces, 1):
        total += len(piece.words)
        ends.append((number, total - words, piece.ends_paragraph))
    paragraphs = [(abs(off), number) for number, off, ends in ends if ends and abs(off) <= words / 4]
    sentences = [(abs(off), number) for number, off, _ in ends if abs(off) <= words / 2]
    if nearest := paragraphs or sentences:
        number = min(nearest)[1]
        return pieces[:number], pieces[number:]
    return _cut_inside(pieces, words)


def _cut_inside(pieces: list[Piece], words: int) -> tuple[list[Piece], list[Piece]]:
    room = words
    for number, piece in enumerate(pieces):
        if len(piece.words) > room:
            head = [*pieces[:number], Piece(piece.words[:room], False)]
            return head, [Piece(piece.words[room:], piece.ends_paragraph), *pieces[number + 1 :]]
        room -= len(piece.words)
    return pieces, []


def _pieces(lines: Iterable[str]) -> Iterator[Piece]:
    for paragraph in _paragraphs(lines):
        ends = [0, *(found.end() for found in _END.finditer(paragraph)), len(paragraph)]
        sentences = [
            words for first, last in pairwise(ends) if (words := tuple(units(paragraph[first:last])))
        ]
        for number, sentence in enumerate(sentences, 1):
            yield Piece(sentence, number == len(sentences))


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    gathered: list[str] = []
    for line in lines:
        if line.strip():
            gathered.append(" ".join(line.split()))
        elif gathered:
            yield " ".join(gathered)
            gathered = []
    if gathered:
        yield " ".join(gathered)


def _count(pieces: Iterable[Piece]) -> int:
    return sum(len(piece.words) for piece in pieces)


def _text(pieces: list[Piece]) -> str:
    parts = []
    for number, piece in enumerate(pieces, 1):
        parts.append("".join(piece.words))
        if piece.ends_paragraph and number < len(pieces):
            parts.append("\n\n")
    return "".join(parts).rstrip()
