"""The sorted suffixes that quotes use, against a suffix automaton, which works in another way."""

from __future__ import annotations

import random

import numpy as np
import pytest

from dipole.interventions.pools.sorted_texts import SortedTexts
from dipole.interventions.pools.suffixes import sort_suffixes
from reference import pool as slow
from reference.suffix_automaton import SuffixAutomaton

# Text: states, transitions, different substrings.
GOLDEN = {
    "abcbc": (8, 9, 12),
    "abbb": (7, 7, 7),
    "abbbc": (8, 11, 12),
    "banana": (10, 11, 15),
    "mississippi": (18, 24, 53),
}
PROSE = "Die Katze, die Äpfel isst, die die Kätzchen aßen: 日本 日本語 ".encode()


def suffixes(text: bytes) -> SortedTexts:
    data = np.frombuffer(text + bytes(9), dtype=np.uint8)
    return SortedTexts(data, sort_suffixes(data, np.arange(len(text), dtype=np.int32)))


def continuations(index: SortedTexts, text: bytes) -> set[int]:
    """Bytes that may follow, as the masks of quotes ask for them: all bytes in one call."""
    low, high = index.find(text)
    every = np.arange(256, dtype=np.uint8)
    first, behind = index.narrow(*(np.full(256, x, dtype=np.int64) for x in (low, high, len(text))), every)
    return set(np.flatnonzero(first < behind).tolist())


def random_text(draw: random.Random) -> bytes:
    alphabet = draw.choice([b"a", b"ab", b"abc", bytes(range(1, 256))])
    return bytes(draw.choice(alphabet) for _ in range(draw.randint(1, 24)))


def texts() -> list[bytes]:
    draw = random.Random(0)
    return [*(text.encode() for text in GOLDEN), PROSE, *(random_text(draw) for _ in range(100))]


@pytest.mark.parametrize(("text", "counts"), GOLDEN.items())
def test_golden_numbers_of_the_automaton(text: str, counts: tuple[int, int, int]) -> None:
    automaton = SuffixAutomaton(text.encode())
    assert (len(automaton.states), automaton.transitions, automaton.substrings) == counts


def test_the_automaton_keeps_its_bounds_and_counts() -> None:
    draw = random.Random(1)
    for _ in range(200):
        text = "".join(draw.choice("abc") for _ in range(draw.randint(3, 12)))
        automaton, n = SuffixAutomaton(text.encode()), len(text)
        assert len(automaton.states) <= 2 * n - 1
        assert automaton.transitions <= 3 * n - 4
        assert automaton.substrings == len(slow.substrings(text))


def test_every_substring_and_what_may_follow_it() -> None:
    for text in texts():
        index, automaton = suffixes(text), SuffixAutomaton(text)
        parts = {text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1)}
        for part in [b"", *parts]:
            state = automaton.after(part)
            assert state is not None
            assert continuations(index, part) == set(state.to)
            if part:
                low, high = index.find(part)
                assert high - low == state.count  # as many places
                assert int(index.starts[low:high].min()) == state.first - len(part)


def test_what_is_no_substring_is_refused_by_both() -> None:
    draw, refused = random.Random(2), 0
    for text in texts():
        index, automaton = suffixes(text), SuffixAutomaton(text)
        for _ in range(60):
            at, size = draw.randrange(len(text)), draw.randint(1, 5)
            part = bytearray(text[at : at + size])
            part[draw.randrange(len(part))] = draw.choice(text)
            low, high = index.find(bytes(part))
            known = automaton.after(bytes(part)) is not None
            assert (low < high) == known == (bytes(part) in text)
            refused += not known
    assert refused > 500
