"""Words of any language: where one begins and ends, and when two of them are the same.

Boundaries are those of Unicode (UAX 29, Unicode Standard Annex "Text Segmentation"), with these departures:

1. An apostrophe, colon or full stop between letters is a boundary: `staple's` and `l'agrafe` hold the word.
2. `_` joins only inside a word: `_clips_` holds the word.
3. Hangul and another script are two words where they touch (`AI가`).
4. Thai, Lao, Khmer, Burmese, Chinese and Japanese need a dictionary. Without one each syllable or sign is a
   segment (katakana: each run), and a word is a run of segments. A vowel is never parted from its consonant.
5. A zero-width non-joiner between Arabic letters is a boundary, as between a Persian noun and its plural.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import regex

WORD_CHARACTER = r"[[\p{WB=ALetter}\p{WB=Hebrew_Letter}\p{WB=Numeric}\p{WB=Katakana}]--\p{Hangul}]"
"""A class of characters that belong to one word where they touch, for patterns of the `regex` package."""

_MARKS = r"(?:[[\p{WB=Extend}\p{WB=Format}\u200d]--[\u200c]]|\u200c(?!\p{Arabic}))*+"
_LETTER = rf"(?:[[\p{{WB=ALetter}}\p{{WB=Hebrew_Letter}}\p{{WB=Numeric}}]--[\p{{Hangul}}々〻]]{_MARKS})"
# What no syllable begins with: a vowel behind its consonant, small kana, a Burmese coda, a stacked consonant.
_REST = (
    rf"(?:[ะาำๅະາຳぁぃぅぇぉっゃゅょゎゕゖゝゞー々〻]{_MARKS}|\p{{M}}"
    r"|[\u1000-\u102a]\u1037?\u103a\p{M}*+|(?<=[\u17d2\u1039])\X)*+"
)
_SEGMENT = regex.compile(
    rf"(?P<word>{_LETTER}(?:{_LETTER}|_+(?={_LETTER})|(?<=\p{{Nd}})[.,٫٬'’](?=\p{{Nd}}))*+"
    rf"|(?:\p{{Hangul}}{_MARKS})++|(?:\p{{WB=Katakana}}{_MARKS})++)"
    rf"|\p{{Regional_Indicator}}{{1,2}}{_MARKS}"  # \X takes time that is quadratic in their number
    rf"|(?:\p{{Logical_Order_Exception}}{_MARKS}(?=\p{{L}}))*+\X{_REST}",
    regex.V1,
)
_ASCII_WORD = re.compile(r"[a-z0-9](?:[a-z0-9]|_+(?=[a-z0-9])|(?<=[0-9])[.,'](?=[0-9]))*+")
_ASCII_SEGMENT = re.compile(rf"{_ASCII_WORD.pattern}|\r\n|[\s\S]", re.IGNORECASE)
_HAS_WORD = regex.compile(r"[\p{L}\p{N}]")
_ELIDED = regex.compile(rf"(?<={WORD_CHARACTER}{_MARKS})'(?={WORD_CHARACTER})", regex.V1)
_HAS_UNSPACED = regex.compile(r"[\p{Line_Break=SA}\p{Ideographic}\p{Hiragana}\p{Katakana}ー]")
_UNSPACED = regex.compile(rf"(?:{_HAS_UNSPACED.pattern}|[\u3000-\u303f\uff01-\uff9f])\p{{M}}*$")
_HIRAGANA = regex.compile(r"[\p{Hiragana}ー]+")

_SHORT = 32
_FORMS = ("<wide>", "<narrow>", "<initial>", "<medial>", "<final>", "<isolated>")
_SIGNS = {ord(c): "-" for c in "‐‑‒–−﹣－"} | {ord(c): "'" for c in "‘’‛ʼ′＇"}
_UNSEEN = regex.compile(
    r"[\xad\u034f\u061c\u0640\u180b-\u180f\u200c\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufe00-\ufe0f"
    r"\ufeff\U000e0100-\U000e01ef]|(?<!\p{Extended_Pictographic}[\p{M}\p{Emoji_Modifier}]*)\u200d"
)
# Vowel points and cantillation of Hebrew, short vowels of Arabic: most texts are written without.
_POINTS = regex.compile(
    r"[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06ed]"
    r"|(?<=i)\u0307"
)


class Segment(NamedTuple):
    """The smallest part of a text that may be a word, or be none.

    Attributes:
        text: What it says, folded.
        start: Its first character in the text.
        end: The one behind its last.
    """

    text: str
    start: int
    end: int


def canonical(text: str, case: Callable[[str], str] = str.lower) -> str:
    """The text in one spelling: equal for texts that a reader can't tell apart, letter case aside.

    NFC, in small letters; full-width, half-width and positional forms as plain ones; typographic hyphens and
    apostrophes as `-` and `'`; without what has no sign of its own (soft hyphens, direction marks, variation
    selectors, tatweel). A zero-width joiner stays inside emoji.
    """
    if text.isascii():
        return case(text)
    plain = "".join(map(_plain_form, text)).translate(_SIGNS)
    composed = case(unicodedata.normalize("NFC", _UNSEEN.sub("", plain)))
    return unicodedata.normalize("NFC", composed)


def fold(text: str, case: Callable[[str], str] = str.casefold) -> str:
    """`canonical` without the points of Hebrew and Arabic, by default case folded (`Straße` is `STRASSE`)."""
    found = canonical(text, case)
    return found if found.isascii() else unicodedata.normalize("NFC", _POINTS.sub("", found))


def turkic_fold(text: str) -> str:
    """`fold` by the rule of Turkish: `I` is the capital of `ı`, and `İ` that of `i`."""
    return fold(unicodedata.normalize("NFC", text).replace("I", "ı").replace("İ", "i"))


def segments(text: str, folded: Callable[[str], str] = fold) -> Iterator[Segment]:
    """The segments of a text, in order; together they are the whole text."""
    if text.isascii():  # the same, many times as fast
        whole = folded(text)
        for match in _ASCII_SEGMENT.finditer(text):
            start, end = match.span()
            yield Segment(whole[start:end], start, end)
        return
    for found in _SEGMENT.finditer(text):
        piece = found.group()
        seen = _kept(piece, folded) if len(piece) <= _SHORT else folded(piece)
        yield Segment(seen, found.start(), found.end())


@lru_cache(maxsize=1 << 14)
def _kept(piece: str, folded: Callable[[str], str]) -> str:
    return folded(piece)


def words(text: str) -> list[str]:
    """Words of a text, folded, without punctuation; apostrophes inside a word stay.

    In a script without blanks each segment counts as a word; see the module's docstring.
    """
    # An apostrophe becomes a letter for the time of the search, which keeps `don't` whole.
    kept = _ELIDED.sub("ʼ", fold(text))
    return [
        found.group().replace("ʼ", "'")
        for found in _SEGMENT.finditer(kept)
        if _HAS_WORD.search(found.group())
    ]


def terms(text: str) -> list[str]:
    """What a model of word counts counts, in small letters.

    Words of two characters or more, parted at apostrophes. Of scripts without blanks: katakana by the run,
    and each pair of neighbouring segments (a single one where it stands alone); hiragana, which writes the
    grammar, is left out.
    """
    if text.isascii():  # ten times as fast
        return [word for word in _ASCII_WORD.findall(text.lower()) if len(word) > 1]
    found: list[str] = []
    run: list[str] = []
    behind = -1
    for match in _SEGMENT.finditer(fold(text, str.lower)):
        piece = match.group()
        apart = match["word"] is not None or not _HAS_WORD.search(piece) or _HIRAGANA.fullmatch(piece)
        if run and (apart or match.start() != behind):
            found += _pairs(run)
            run = []
        if not apart:
            run.append(piece)
        elif match["word"] is not None and len(piece) > 1:
            found.append(piece)
        behind = match.end()
    return found + _pairs(run)


def units(text: str) -> list[str]:
    """The text from its first word on, cut into words with what stands behind each, blanks too.

    What stands between blanks is a word; in a script that puts no blanks between words each segment is one.
    """
    found: list[str] = []
    for chunk in regex.findall(r"\S+\s*", text):
        if _HAS_UNSPACED.search(chunk) is None:
            found.append(chunk)
            continue
        first = True
        for match in _SEGMENT.finditer(chunk):
            if first or _HAS_WORD.search(match.group()):
                found.append(match.group())
            else:
                found[-1] += match.group()
            first = False
    return found


def starts_unspaced(text: str) -> bool:
    """Whether a text begins in a script that puts no blanks between words."""
    return _HAS_UNSPACED.match(text) is not None


def ends_unspaced(text: str) -> bool:
    """Whether a text ends in a script that puts no blanks between words, or in a sign of such a script."""
    return _UNSPACED.search(text) is not None


def ends_in_word(text: str) -> bool:
    """Whether a text ends in a letter or digit, marks above or below it aside."""
    return regex.search(r"[\p{L}\p{N}]\p{M}*$", text) is not None


def _pairs(run: list[str]) -> list[str]:
    return [a + b for a, b in itertools.pairwise(run)] if len(run) > 1 else run


def _plain_form(character: str) -> str:
    form = unicodedata.decomposition(character)
    if not form.startswith(_FORMS):
        return character
    return "".join(chr(int(code, 16)) for code in form.split()[1:])
