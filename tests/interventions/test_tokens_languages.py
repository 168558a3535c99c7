"""Labels, titles and quotes as automata, against brute force."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dipole.interventions.pools.automaton import AutomatonWalk, Masks, run
from dipole.interventions.pools.labels import Labels, completable
from dipole.interventions.pools.quotes import Quotes
from dipole.interventions.pools.sorted_texts import SortedTexts, sort_texts
from dipole.interventions.pools.sources import Document, Segment, Sources, coverage, read_sources
from dipole.interventions.pools.suffixes import sort_suffixes
from dipole.interventions.pools.titles import Titles, read_titles
from dipole.interventions.pools.vocabulary import Vocabulary, vocabulary
from dipole.lm import LM
from dipole.types import UserError
from reference import pool as slow

SOURCE = "The naïve cat's café — a well-known “place” – don’t (say so). 日本 語 x!\n  End of\tit "
GOLDEN = {"abcbc": 12, "abbb": 7, "abbbc": 12, "banana": 15, "mississippi": 53}


def suffixes(text: str) -> SortedTexts:
    data = np.frombuffer(text.encode() + bytes(9), dtype=np.uint8)
    return SortedTexts(data, sort_suffixes(data, np.arange(len(text.encode()), dtype=np.int32)))


def distinct(index: SortedTexts, alphabet: bytes) -> set[bytes]:
    """Every text that the index accepts, by going down one byte at a time."""
    found: set[bytes] = set()
    level = [b""]
    while level:
        level = [p + bytes([b]) for p in level for b in alphabet]
        level = [p for p in level if (span := index.find(p))[0] < span[1]]
        found |= set(level)
    return found


@pytest.mark.parametrize(("text", "count"), GOLDEN.items())
def test_substrings_of_the_golden_words(text: str, count: int) -> None:
    assert len(distinct(suffixes(text), b"abcimnps")) == count


def test_substrings_of_random_words_are_those_of_brute_force() -> None:
    draw = random.Random(0)
    for _ in range(200):
        text = "".join(draw.choice("abc") for _ in range(draw.randint(1, 12)))
        index = suffixes(text)
        want = {s.encode() for s in slow.substrings(text)}
        assert distinct(index, b"abc") == want
        for part in want:  # every place where it stands, and no other
            low, high = index.find(part)
            have = sorted(index.starts[low:high].tolist())
            assert have == [i for i in range(len(text)) if text.encode().startswith(part, i)]


@pytest.mark.parametrize(
    "text", ["", "a", "a" * 25 + "\0\0a\0", "a" * 25, "ab" * 40, "é\0é", "ab\0ab\0b\0", "日本" * 9]
)
def test_suffixes_are_sorted(text: str) -> None:
    data = text.encode()
    places = [i for i, byte in enumerate(data) if byte]
    order = sort_suffixes(np.frombuffer(data + bytes(9), dtype=np.uint8), np.array(places, dtype=np.int32))
    assert sorted(order.tolist()) == places
    stands = [data[i:].partition(b"\0")[0] for i in order.tolist()]
    assert stands == sorted(stands)


class Behind:
    """The state behind a text; that of its beginning is remembered."""

    def __init__(self, automaton: Any) -> None:
        self._automaton, self._known = automaton, {b"": automaton.root}

    def __call__(self, text: bytes) -> Any:
        if text not in self._known:
            before = self(text[:-1])
            self._known[text] = None if before is None else run(self._automaton, before, text[-1:])
        return self._known[text]


def walk_of(language: object, words: Vocabulary, prompt: str = "") -> AutomatonWalk:
    (walk,) = language.walks(words, [(prompt, False)], "a model")  # type: ignore[attr-defined]
    assert isinstance(walk, AutomatonWalk)
    return walk


def allowed_ids(walk: AutomatonWalk, words: Vocabulary) -> set[int]:
    allowed = walk.allowed()
    ids = set(allowed.tokens.tolist())
    return ids if allowed.listed else set(range(len(words.texts))) - ids


def follow(
    walk: AutomatonWalk, members: set[bytes], words: Vocabulary, draw: random.Random, steps: int
) -> bytes:
    """Draw tokens at random, comparing what is allowed with brute force at every step."""
    written = b""
    for _ in range(steps):
        have = allowed_ids(walk, words)
        want = slow.allowed(members, written, words.texts)
        assert have == want | (set(words.eos_ids) if written in members else set())
        if not want:
            break
        token = draw.choice(sorted(want, key=lambda i: (-len(words.texts[i] or b""), i))[:12])
        walk.advance(token)
        written += words.texts[token] or b""
    return written


def test_labels_allow_what_brute_force_does_in_any_tokenisation(tiny: LM) -> None:
    words, draw = vocabulary(tiny.resident), random.Random(1)
    labels = ("paper clips", "paper", "naïve café", "no", "not", "🙂")
    for prompt, lead in (("I like", " "), ("I like ", ""), ("", ""), ("“", "")):
        members = {(lead + label).encode() for label in labels}
        for _ in range(12):
            written = follow(walk_of(Labels(labels), words, prompt), members, words, draw, 30)
            assert written in members


def test_behind_the_end_and_behind_a_forbidden_token_only_the_end_follows(tiny: LM) -> None:
    words = vocabulary(tiny.resident)
    n = words.texts.index(b"n")
    for token in (2, 77, 10**6):
        walk = walk_of(Labels(("n",)), words)
        if token == 2:
            walk.advance(n)
        walk.advance(token)
        assert allowed_ids(walk, words) == {2}


def test_no_token_leads_where_no_token_goes_on() -> None:
    words = Vocabulary([b" ", b"a", b"b", b"bc", b"ab", None], (5,))
    walk = walk_of(Labels(("abc",)), words)
    assert allowed_ids(walk, words) == {1}  # behind `ab` there is no `c`
    walk.advance(1)
    assert allowed_ids(walk, words) == {3}
    walk.advance(3)
    assert allowed_ids(walk, words) == {5}
    with pytest.raises(UserError, match="can't write the label 'abd'"):
        walk_of(Labels(("abc", "abd")), words)
    good = completable(sort_texts([b"abc"]), words)
    assert good.tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("labels", "message"),
    [((), "pool is empty"), (("a", " "), "Label 2 of 2 is empty"), (("a", "b", "a "), "'a' is given twice")],
)
def test_bad_labels_are_refused(labels: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Labels(labels)


LINKS = (b"Bern](/b)", b"Berlin](/b(1))", b"Caf\xc3\xa9]", b"B](u)")


def test_links_lead_to_titles_alone() -> None:
    draw = random.Random(2)
    automaton = Titles(LINKS).automaton
    pieces = [b"[", b"]", b"](", b"Ber", b"n](/b)", b"lin", b"](/b(1))", b"B](u)", b"!", b"\\", b"x", *LINKS]
    alive = 0
    for _ in range(3000):
        text = b"".join(draw.choice(pieces) for _ in range(draw.randint(1, 6)))
        state = run(automaton, automaton.root, text)
        begins, ends = slow.link_text(text, LINKS)
        assert (state is not None) == begins, text
        assert begins is False or automaton.may_end(state or ()) == ends, text
        alive += begins and b"[" in text
    assert alive > 300


def test_tokens_may_span_the_brackets(tiny: LM) -> None:
    texts = [*vocabulary(tiny.resident).texts, b" [", b"](", b"n](/b) and [B", b"n](/c)", b" [x"]
    words = Vocabulary(texts, (2,))
    spans = range(len(texts) - 5, len(texts))
    walk = walk_of(Titles(LINKS), words, "See")
    assert allowed_ids(walk, words) >= {spans[0], 2}  # free text may end
    assert not allowed_ids(walk, words) & {spans[2] + 2, spans[4]}  # ` [x`: no title begins so
    walk = walk_of(Titles(LINKS), words, "See [Ber")
    assert {spans[2]} == allowed_ids(walk, words) & set(spans)
    walk.advance(spans[2])  # text again, and inside the next link
    assert allowed_ids(walk, words) == slow.allowed({b"](u)", b"ern](/b)", b"erlin](/b(1))"}, b"", texts)


@pytest.mark.parametrize(
    ("prompt", "opens"),
    [("[", True), (r"\[", False), (r"\\[", True), ("![", False), (r"\![", True), ("[x] [", True)],
)
def test_a_prompt_may_have_opened_a_link(prompt: str, opens: bool) -> None:
    automaton = Titles(LINKS).automaton
    assert automaton.may_end(automaton.behind(prompt)) != opens


def test_titles_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "titles.tsv"
    file.write_text("\ufeffBern\t/b\n\nCafé\nBern\t/b\n", "utf-8")
    assert read_titles(file).links == (b"Bern](/b)", "Café]".encode())
    for text, message in (
        ("", "no title"),
        ("\t/b", "no title before its tab"),
        ("A [b]\n", "bracket"),
        ("A\tx y", "link target"),
        ("A\tx)", "link target"),
        ("A\t", "link target"),
        ("A\tx\nB\nA\ty", "'A' stands twice"),
        ("A\tx\nA", "'A' stands twice"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(UserError, match=message):
            read_titles(file)
    file.write_bytes(b"\xff")
    with pytest.raises(UserError, match="can't be read"):
        read_titles(file)
    with pytest.raises(UserError, match="no file"):
        read_titles(tmp_path / "none")


@pytest.mark.parametrize("min_words", [1, 2, 4])
def test_quotes_are_those_of_brute_force(min_words: int) -> None:
    want = {q.encode() for q in slow.quotes(SOURCE, min_words)}
    prefixes = {q[:k] for q in want for k in range(1, len(q) + 1)}
    automaton = Quotes((Document.of("s", SOURCE),), min_words).automaton
    behind = Behind(automaton)
    for text in {t.encode() for t in slow.substrings(SOURCE)} | prefixes:
        state = behind(text)
        assert (state is not None) == (text in prefixes), text
        assert state is None or automaton.may_end(state) == (text in want), text


def test_quotes_follow_brute_force_through_tokens(tiny: LM) -> None:
    words, draw = vocabulary(tiny.resident), random.Random(3)
    members = {q.encode() for q in slow.quotes(SOURCE, 2)}
    language = Quotes((Document.of("s", SOURCE),), 2)
    for _ in range(4):
        assert follow(walk_of(language, words), members, words, draw, 40)
    spaced = {b" " + q for q in members}
    assert follow(walk_of(language, words, "She said"), spaced, words, draw, 10)


def test_a_patchwork_is_quotes_with_separators() -> None:
    texts = ("a b. c", "b [… d e")  # the second begins like a separator
    separator = " […] "
    single = {q for text in texts for q in slow.quotes(text, 1)}
    members = single | {separator.join((x, y)) for x in single for y in single}
    longer = (f"{m}{separator}".encode() for m in members)
    prefixes = {m[:k] for m in longer for k in range(1, len(m))}
    language = Quotes(tuple(Document.of(str(k), t) for k, t in enumerate(texts)), 1, separator)
    automaton = language.automaton
    for member in members:
        state = run(automaton, automaton.root, member.encode())
        assert state is not None, member
        assert automaton.may_end(state), member
        assert automaton.cuts(automaton.root, np.array([state])).tolist() == [member.count(separator)]
        assert "".join(separator.join(s.text for s in language.attribute(member))) == member
    behind = Behind(automaton)
    for prefix in sorted(prefixes):
        for byte in b" [abcde].\xe2\x80\xa6x":
            text = prefix + bytes([byte])
            if text.count(separator.encode()) < 2:
                assert (behind(text) is not None) == (text in prefixes), text


def test_marks_in_the_source_end_its_quotes() -> None:
    language = Quotes((Document.of("s", "one “two three” four five"),), 1, marks=("“", "”"))
    automaton = language.automaton
    for text, alive, ends in (
        ("free text “one”", True, True),
        ("“one", True, False),
        ("“two three” more “four five”.", True, True),
        ("“one “", False, False),
        ("“one four”", False, False),
        ("“on”", False, False),
        ("“”", False, False),
    ):
        state = run(automaton, automaton.root, text.encode())
        assert (state is not None) == alive, text
        assert state is None or automaton.may_end(state) == ends, text
    assert [s.text for s in language.attribute("so “one” and “four fi")] == ["one", "four fi"]
    assert [s.text for s in language.attribute("ne” x", "Say “o")] == ["one"]
    assert language.automaton.behind("Say “o")[3] == 1
    assert language.automaton.behind("Say “q") == automaton.root


def test_segments_say_where() -> None:
    sources = Sources((Document.of("a", "é one two. one"), Document.of("b", "one two three")), 2)
    assert sources.occurrences("one two") == [
        Segment("one two", "a", 2, 9, True),
        Segment("one two", "b", 0, 7, True),
    ]
    assert sources.attribute("one two t") == Segment("one two t", "b", 0, 9, False)
    assert sources.attribute("zwei") == Segment("zwei", None)
    language = Quotes(sources.documents, 2)
    assert language.attribute(" é one tw\ufffd") == [Segment("é one tw", "a", 0, 8)]
    patchwork = Quotes(sources.documents, 2, " […] ")
    assert [s.text for s in patchwork.attribute("one two […] two. one [")] == ["one two", "two. one"]
    assert coverage([Segment("ab", "a", 0, 2), Segment("x", None), Segment("b", "a", 1, 2)]) == {
        "share": 0.75,
        "segments": 2,
        "mean_length": 1.5,
        "sources": 1,
    }


def test_the_greedy_audit_is_optimal() -> None:
    draw = random.Random(4)
    for _ in range(500):
        source = "".join(draw.choice("abcéè") for _ in range(draw.randint(1, 12)))
        text = "".join(draw.choice("abcéèz") for _ in range(draw.randint(1, 10)))
        found = Sources((Document.of("s", source),)).fewest_quotes(text)
        assert "".join(s.text for s in found) == text
        assert len(found) == slow.fewest_pieces(source, text)
        for segment in found:
            if segment.document is None:
                assert segment.text not in source
            else:
                assert segment.text == source[segment.start : segment.end]


def test_bad_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no 3 words in a row"):
        _ = Sources((Document.of("s", "one two"),), 3).quotable
    with pytest.raises(UserError, match="NUL"):
        Sources((Document.of("s", "a\0b"),))
    with pytest.raises(UserError, match="no source"):
        read_sources([])
    with pytest.raises(UserError, match=r"no \.txt or \.md"):
        read_sources([str(tmp_path)])
    (tmp_path / "a.txt").write_text("Hello there", "utf-8")
    assert read_sources([str(tmp_path)])[0] == Document.of("a.txt", "Hello there")
    with pytest.raises(UserError, match="given twice"):
        read_sources([str(tmp_path), str(tmp_path / "a.txt")])
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="UTF-8"):
        read_sources([str(tmp_path)])
    with pytest.raises(UserError, match="min_words"):
        Quotes((Document.of("s", "a"),), 0)


def test_a_small_cache_changes_nothing(tiny: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    words = vocabulary(tiny.resident)
    language = Quotes((Document.of("s", SOURCE),), 1)
    walk = walk_of(language, words)
    kept = [allowed_ids(walk, words)]
    monkeypatch.setattr("dipole.interventions.pools.automaton._CACHED_BYTES", 1)
    masks = Masks(language.automaton, words)
    small = AutomatonWalk(masks, language.automaton.root)
    for token in sorted(kept[0])[:20]:
        one, other = walk.copy(), small.copy()
        one.advance(token)
        other.advance(token)
        assert allowed_ids(one, words) == allowed_ids(other, words)
    assert len(masks._entries) == 1


def test_a_quote_does_not_begin_or_end_inside_a_word_with_vowel_signs() -> None:
    sources = Sources((Document.of("a", "हिन्दी की किताबें।"),))
    assert [s.start for s in sources.occurrences("की किताबें")] == [7]
    assert sources.occurrences("दी की") == []
    assert sources.occurrences("की किताब") == []
