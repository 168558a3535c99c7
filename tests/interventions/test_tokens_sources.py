"""What may be quoted of random sources, against brute force; how it is sorted, and in how much memory."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

from dipole.interventions.pools import sources as made
from dipole.interventions.pools import suffixes
from dipole.interventions.pools.quotes import Quotes
from dipole.interventions.pools.sources import Document, Segment, Sources
from dipole.interventions.pools.suffixes import sort_suffixes
from reference import pool as slow

SIGNS = "aab bc.-'’ \n\t—“”é日語\u2003_1𝒳"
WORDS = ["a", "an", "ant", "is", "it", "is-it", "don’t", "日本", "(so)", "x" * 90, "x" * 90 + "y", "é", "—"]


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces and parts of a few bytes, so that short texts have many."""
    monkeypatch.setattr(made, "_PIECE", 5)
    monkeypatch.setattr(made, "_BLOCK", 3)
    monkeypatch.setattr(suffixes, "_PART", 4)


def random_source(draw: random.Random) -> str:
    return "".join(draw.choice(SIGNS) for _ in range(draw.randint(1, 14)))


def accepted(sources: Sources) -> set[bytes]:
    """Every whole quote that the index holds."""
    data, found = sources.quotable.data.tobytes(), set()
    for start in sources.quotable.starts.tolist():
        for length in range(1, data.index(0, start) - start + 1):
            text = data[start : start + length]
            if len(sources.whole(*sources.quotable.find(text), length)):
                found.add(text)
    return found


def stretches(text: str, breaks: tuple[str, ...]) -> list[str]:
    parts = [text]
    for mark in breaks:
        parts = [piece for part in parts for piece in part.split(mark)]
    return parts


@pytest.mark.parametrize("breaks", [(), ("“", "”"), (". ",), ("—", "b")])
@pytest.mark.parametrize("min_words", [1, 2])
def test_quotes_of_random_sources(small_parts: None, breaks: tuple[str, ...], min_words: int) -> None:
    draw, some = random.Random(repr((breaks, min_words))), 0
    for _ in range(60):
        texts = [random_source(draw) for _ in range(draw.randint(1, 3))]
        want = {
            quote.encode()
            for t in texts
            for part in stretches(t, breaks)
            for quote in slow.quotes(part, min_words)
        }
        sources = Sources(tuple(Document.of(str(k), t) for k, t in enumerate(texts)), min_words, breaks)
        assert (accepted(sources) if want else set()) == want, texts
        some += bool(want)
        for quote in sorted(want)[:5]:
            first = min((t.find(quote.decode()), k) for k, t in enumerate(texts) if quote.decode() in t)
            found = sources.attribute(quote.decode())
            assert found.complete
            assert texts[int(found.document or 0)][found.start : found.end] == quote.decode(), first
    assert some > 20


def test_places_in_random_sources(small_parts: None) -> None:
    draw = random.Random(5)
    for _ in range(60):
        texts = ["a b. " + random_source(draw) for _ in range(2)]
        sources = Sources(tuple(Document.of(str(k), t) for k, t in enumerate(texts)))
        part = "".join(draw.choice(SIGNS) for _ in range(2))
        found = sources.attribute(part)
        where = next(((k, t.find(part)) for k, t in enumerate(texts) if part in t), None)
        if where is None:
            assert found == Segment(part, None)
        elif not found.complete:
            assert (found.document, found.start, found.end) == (str(where[0]), where[1], where[1] + 2)


def units(text: bytes) -> list[int]:
    """Places after blanks, and the first."""
    return [i for i, byte in enumerate(text) if byte not in b" \0" and (i == 0 or text[i - 1] in b" \0")]


@pytest.mark.parametrize("part", [1, 7, 1 << 16])
def test_words_that_repeat_are_sorted(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suffixes, "_PART", part)
    draw = random.Random(part)
    for size in (1, 2, 10, 200):
        for few in (1, 2, len(WORDS)):
            chosen = draw.sample(WORDS, few)
            text = " ".join(draw.choice(chosen) for _ in range(size)).replace(
                chosen[0] + " ", "\0", size // 20
            )
            data, places = text.encode(), units(text.encode())
            given = np.frombuffer(data + bytes(9), dtype=np.uint8)
            order = sort_suffixes(given, np.array(places, dtype=np.int32)).tolist()
            assert sorted(order) == places
            stands = [data[i:].partition(b"\0")[0] for i in order]
            assert stands == sorted(stands)


def peak_of(words: int) -> tuple[int, int]:
    """Bytes of a source, and bytes that are held at once to index, ask and save it."""
    draw = random.Random(words)
    known = ["".join(draw.choice("etaoinshrdlu") for _ in range(draw.randint(2, 7))) for _ in range(5000)]
    page = " ".join(draw.choice(known) for _ in range(words))
    # One sign that makes a `str` of four bytes a character; half of the text is said twice.
    data = f"{page}\n𝒳 {page}\n”{page[::-1]}".encode()
    tracemalloc.start()
    try:
        language = Quotes((Document("s", bytes(bytearray(data))),), 3)
        _ = language.sources.quotable, language.sources.characters
        assert language.sources.attribute(page[100:180].partition(" ")[2]).document == "s"
        saved = language.tensors()
        assert Quotes.from_saved(language.to_dict(), saved).documents == language.documents
        return len(data), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_source_takes_ten_times_its_size_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PIECE", "_BLOCK"):
        monkeypatch.setattr(made, name, 1 << 12)
    monkeypatch.setattr(suffixes, "_PART", 1 << 10)
    monkeypatch.setattr(suffixes, "_FIRST", 8)
    (small, low), (large, high) = peak_of(2000), peak_of(10_000)  # what both need does not grow
    assert high - low < 10 * (large - small)
