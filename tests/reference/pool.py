"""Token pools the slow way: languages as lists of texts, and every token tried."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"\w+(?:[-'’]\w+)*")


def allowed(members: Iterable[bytes], written: bytes, tokens: Sequence[bytes | None]) -> set[int]:
    """Tokens after which what is written still begins some member."""
    prefixes = {m[:k] for m in members for k in range(len(m) + 1)}
    return {i for i, t in enumerate(tokens) if t and written + t in prefixes}


def substrings(text: str) -> set[str]:
    """Every substring that is not empty."""
    return {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}


def quotes(source: str, min_words: int) -> set[str]:
    """Every whole quote of a source, by trying each pair of places."""
    words = [m.span() for m in _WORD.finditer(source)]

    def inside(at: int) -> bool:
        return any(a < at < b for a, b in words)

    def starts(at: int) -> bool:
        if inside(at) or source[at].isspace():
            return False
        return any(a == at for a, _ in words) or at == 0 or source[at - 1].isspace()

    def ends(at: int) -> bool:
        if inside(at) or source[at - 1].isspace():
            return False
        return any(b == at for _, b in words) or at == len(source) or source[at].isspace()

    return {
        source[i:j]
        for i, j in itertools.combinations(range(len(source) + 1), 2)
        if starts(i) and ends(j) and sum(i <= a and b <= j for a, b in words) >= min_words
    }


def fewest_pieces(source: str, text: str) -> int:
    """Fewest substrings of a source that make a text, by dynamic programming; foreign signs alone."""
    best = [0.0] + [math.inf] * len(text)
    for end in range(1, len(text) + 1):
        for start in range(end):
            if text[start:end] in source or end == start + 1:
                best[end] = min(best[end], best[start] + 1)
    return int(best[-1])


def link_text(data: bytes, links: Sequence[bytes]) -> tuple[bool, bool]:
    """Whether free text with links of a list may begin like this, and whether it may end like this."""
    at, escaped, bang = 0, False, False
    while at < len(data):
        byte = data[at : at + 1]
        if byte == b"[" and not escaped and not bang:
            rest = data[at + 1 :]
            if any(link.startswith(rest) and link != rest for link in links):
                return True, False
            whole = [link for link in links if rest.startswith(link)]
            if not whole:
                return False, False
            at += 1 + len(whole[0])
            continue
        escaped, bang = byte == b"\\" and not escaped, byte == b"!" and not escaped
        at += 1
    return True, True


def tokenisations(text: bytes, tokens: Sequence[bytes | None]) -> list[tuple[int, ...]]:
    """Every way to write a text in whole tokens."""
    if not text:
        return [()]
    return [
        (i, *rest)
        for i, t in enumerate(tokens)
        if t and text.startswith(t)
        for rest in tokenisations(text[len(t) :], tokens)
    ]
