"""Where a text mentions a word, in any language: the one rule of counting, of sides and of highlighting."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import regex

from dipole.types import Side
from dipole.words import WORD_CHARACTER, fold, segments, turkic_fold

# A text is searched with a mark at each boundary: in front of, between and behind its segments.
_MARK = "\0"
_JOIN = r"[\0\s\u200b\-]*"
_BLANK = regex.compile(r"[\s\u200b]+")
_WORD = regex.compile(r"[\p{L}\p{N}]")
# `C` is no mention in `C++` or `C#`, nor `5` in `-5`; `.NET` and `C++` are none inside a longer word.
_NO_SIGN_BEHIND = rf"(?!\0(?:\+\0\+|[+#]\0(?!{WORD_CHARACTER})))"
_NO_MINUS = rf"(?<!(?<!{WORD_CHARACTER}\0)-\0)"
_NO_WORD_BEFORE = rf"(?<!{WORD_CHARACTER}\0)"
_NO_WORD_BEHIND = rf"(?!\0{WORD_CHARACTER})"
# Words that are written glued to a noun. After a consonant and after a vowel Korean has other particles.
_PARTICLES = (
    "의 에 에서 에게 께 께서 한테 도 만 까지 부터 마저 조차 밖에 보다 처럼 같이 만큼 뿐 대로 커녕 "
    "하고 등 들 마다 인 입니다 이다 였다 이었다"
)
_AFTER_CONSONANT = (
    "이 을 은 과 으로 이랑 이나 이라 이라도 이라고 이라는 이란 이든지 이며 이고 이지 이면 이에요 이여"
)
_AFTER_VOWEL = "가 를 는 와 로 랑 나 라 라도 라고 라는 란 든지 며 고 지 면 예요 여 다 야"
_MORE = f"{_PARTICLES} 은 는 이 가 을 를 라 고"
_ARABIC = "[وف]?(?:[بكف]?ال|لل|[بكل])?"
_HEBREW = "ו?ש?(?:[בכל]|מ)?ה?"


class Span(NamedTuple):
    """A mention in a text.

    Attributes:
        start: Its first character.
        end: The one behind its last.
        side: Number of the list that its word is from.
    """

    start: int
    end: int
    side: int


def first_side(text: str, sides: Sequence[Sequence[str]]) -> Side | None:
    """Whose mention comes first in a text, of the claim's words and the other's; None where neither does."""
    found = spans(text, sides)
    names: tuple[Side, Side] = ("claim", "against")
    return names[found[0].side] if found else None


def spans(text: str, sides: Sequence[Sequence[str]]) -> list[Span]:
    """The mentions in a text that count, in order: whole words, in any case, singular or plural.

    The words of a mention may be written with spaces, with hyphens or as one: `paper clip` also finds
    "paper clips", "paperclips" and "Paper-Clips". Two spellings of one text are equal (`fold`). Irregular
    plurals (mice), cases and other inflections need a mention of their own; Korean particles, and the
    articles, prepositions and conjunctions that Arabic and Hebrew write in front of a noun, do not hide it.

    Mentions that overlap count once: the one that begins first, and of those the longest ("tea bag" on one
    side is no mention of "tea" on the other).
    """
    found = sorted(
        (start, -end, side)
        for side, words in enumerate(sides)
        for word in words
        for start, end in _finds(text, word)
    )
    counted: list[Span] = []
    for start, minus_end, side in found:
        if not counted or start >= counted[-1].end:
            counted.append(Span(start, -minus_end, side))
    return counted


def stem(mention: str) -> str:
    """A mention without the differences that matching forgives: equal stems match the same words."""
    parts = _parts(mention, _rule(mention))
    if not parts:
        return ""
    last = parts[-1]
    return "".join(part for part in [*parts[:-1], _singulars(last)[0]] if part != _JOIN)


def _finds(text: str, mention: str) -> Iterator[tuple[int, int]]:
    """First and behind-last character of each place at which a mention stands; none within another."""
    pattern = _pattern(mention)
    if pattern is None:
        return
    marked, starts, places = _marked(text, _rule(mention))
    for match in pattern.finditer(marked):
        first, last = bisect_right(starts, match.start()) - 1, bisect_right(starts, match.end() - 1) - 1
        yield places[first][0], places[last][1]


@lru_cache(maxsize=8)
def _marked(text: str, rule: Callable[[str], str]) -> tuple[str, list[int], list[tuple[int, int]]]:
    """The folded text with its marks, where each segment begins in it, and where in the text itself."""
    pieces, starts, places, at = [_MARK], [], [], 1
    for segment in segments(text.replace(_MARK, "\ufffd"), rule):
        pieces += [segment.text, _MARK]
        starts.append(at)
        places.append((segment.start, segment.end))
        at += len(segment.text) + 1
    return "".join(pieces), starts, places


def _rule(mention: str) -> Callable[[str], str]:
    """Capitals go by the rule of Turkish where a mention has a letter that Turkish alone has."""
    return turkic_fold if any(letter in mention for letter in ("ı", "İ", "I\u0307")) else fold


def _parts(mention: str, rule: Callable[[str], str]) -> list[str]:
    """Folded segments of a mention; `_JOIN` for blanks and hyphens between two words."""
    found = [s.text for s in segments(mention.replace("\u200c", " ").strip(), rule) if s.text]
    if all(part == "-" or _BLANK.fullmatch(part) for part in found):
        return []
    parts: list[str] = []
    for number, part in enumerate(found):
        between = 0 < number < len(found) - 1
        numbers = between and found[number - 1].isdigit() and found[number + 1].isdigit()
        if _BLANK.fullmatch(part) or (part == "-" and between and not numbers):
            parts += [] if parts and parts[-1] == _JOIN else [_JOIN]
        else:
            parts.append(part)
    return parts


@lru_cache(maxsize=4096)
def _pattern(mention: str) -> regex.Pattern[str] | None:
    """What finds a mention in a marked text; None where it says nothing."""
    parts = _parts(mention, _rule(mention))
    if not parts:
        return None
    pieces = [part if part == _JOIN else _toned(part) for part in parts]
    pieces[-1] = _tail(parts[-1])
    written = pieces[0]
    for before, piece in itertools.pairwise(pieces):
        written += piece if _JOIN in (before, piece) else r"\0*" + piece
    return regex.compile(r"(?<=\0)" + _head(parts) + written + r"(?=\0)" + _behind(parts), regex.V1)


def _head(parts: Sequence[str]) -> str:
    first = parts[0]
    if not _WORD.search(first):
        return _NO_WORD_BEFORE if len(parts) > 1 and _WORD.search(parts[1]) else ""
    if first[0].isdigit():
        return _NO_MINUS
    if len(first) > 2:
        for script, clitics in ((r"\p{Arabic}+", _ARABIC), (r"\p{Hebrew}+", _HEBREW)):
            if regex.fullmatch(script, first):
                return clitics
    return ""


def _tail(last: str) -> str:
    if regex.fullmatch(r"[\p{Latin}\p{M}\p{N}_]+", last):
        forms = {form for singular in _singulars(last) for form in _plurals(singular)} | {last}
        return "(?:" + "|".join(regex.escape(form) for form in sorted(forms, key=len, reverse=True)) + ")"
    if regex.fullmatch(r"\p{Hangul}+", last):
        closed = "가" <= last[-1] <= "힣" and (ord(last[-1]) - ord("가")) % 28
        own = _AFTER_CONSONANT + (" 로" if closed == 8 else "") if closed else _AFTER_VOWEL
        first, more = ("|".join(text.split()) for text in (f"{_PARTICLES} {own}", _MORE))
        return f"{last}(?:(?:{first})(?:{more})?(?:{more})?)?"
    return _toned(last)


def _toned(part: str) -> str:
    """A part, in which a hand or face without a skin tone stands for one of any tone."""
    bare = r"(\p{Emoji_Modifier_Base})(?!\p{Emoji_Modifier})"
    return str(regex.sub(bare, r"\1\\p{Emoji_Modifier}?", regex.escape(part)))


def _behind(parts: Sequence[str]) -> str:
    if _WORD.search(parts[-1]):
        return _NO_SIGN_BEHIND
    return _NO_WORD_BEHIND if len(parts) > 1 and any(_WORD.search(part) for part in parts) else ""


def _singulars(word: str) -> list[str]:
    """What the word may be the plural of, the likeliest first; itself where it looks singular."""
    if len(word) > 4 and word.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return [word[:-2], word[:-1]]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return [word[:-1]]
    return [word]


def _plurals(word: str) -> set[str]:
    if len(word) > 2 and word.endswith("y") and word[-2] not in "aeiou":
        return {word, word[:-1] + "ies"}
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return {word, word + "es"}
    return {word, word + "s"}
