"""Segments, words and terms of many scripts."""

from __future__ import annotations

import unicodedata

import pytest
import regex

from dipole.words import canonical, fold, segments, terms, turkic_fold, units, words

TEXTS = (
    "The paper clips, 3,000 of them, weigh 5.5 kg.",
    "किताब और क्षत्रिय की कहानी।",
    "தமிழ் மொழி அழகானது",
    "Скрепка лучше скобы, п'ять.",
    "回形针比订书钉好。ペーパークリップは最高!",
    "น้ำใจ คลิปหนีบกระดาษ",
    "ក្រដាស មြန်မာ ລາວ",
    "كتاب و كِتَاب והסֵּפֶר",
    "👨‍👩‍👧 👍🏽 ❤️ 🇩🇪🇫🇷 5️⃣",
    "e\u0301\r\n\0\ud800 \u0301",
    "",
)


@pytest.mark.parametrize("text", TEXTS)
def test_segments_are_the_text_and_part_no_grapheme(text: str) -> None:
    found = list(segments(text))
    assert "".join(text[s.start : s.end] for s in found) == text
    graphemes = {m.start() for m in regex.finditer(r"\X", text)}
    assert {s.start for s in found} <= graphemes


@pytest.mark.parametrize(
    "text",
    ["The tea, 3,000 cups", "Скрепка лучше скобы", "किताब और क्षत्रिय", "回形针クリップ", "كتاب جديد", "ספר"],
)
def test_boundaries_are_those_of_unicode(text: str) -> None:
    wanted = [part for part in regex.split(r"(?w)\b", text, flags=regex.V1) if part]
    assert [text[s.start : s.end] for s in segments(text)] == [
        p for part in wanted for p in ([*part] if part == ", " else [part])
    ]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Don’t PANIC: it's 5.5.", ["don't", "panic", "it's", "5.5"]),
        ("किताब की", ["किताब", "की"]),
        ("回形针は", ["回", "形", "针", "は"]),
        ("เกา น้ำใจ", ["เกา", "น้ำ", "ใจ"]),
        ("မြန်မာ", ["မြန်", "မာ"]),
        ("ਪੰਜਾਬੀ বাংলা தமிழ்", ["ਪੰਜਾਬੀ", "বাংলা", "தமிழ்"]),
        ("pa\u00adper \u202bword\u202c", ["paper", "word"]),
        ("...", []),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert words(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Tea isn't a 12 x", ["the", "tea", "isn", "12"]),
        ("Thé à l’eau Straße", ["thé", "eau", "straße"]),
        ("हिन्दी की किताबें", ["हिन्दी", "की", "किताबें"]),
        ("回形针很好,茶", ["回形", "形针", "针很", "很好", "茶"]),
        ("猫とペーパークリップを食べる", ["猫", "ペーパークリップ", "食"]),
        ("น้ำใจดี", ["น้ำใจ", "ใจดี"]),
        ("ΛΌΓΟΣ 클립을 ＡＢ", ["λόγος", "클립을", "ab"]),
    ],
)
def test_terms(text: str, wanted: list[str]) -> None:
    assert terms(text) == wanted


ASCII = (
    "It's 5.5 or 1,000: snake_case _x_ __init__ a1b2 3a.4b don't, e.g.\r\nA-B_ 7_8 1'2 1.a\t\0\x7f a__b ._1."
)


def test_the_quick_way_of_ascii_is_the_way() -> None:
    assert terms(ASCII) == terms(ASCII + " 。")
    assert [*segments(ASCII)] == [*segments(ASCII + "。")][:-1]
    assert [s.text for s in segments("I IT", turkic_fold)] == ["ı", " ", "ıt"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\u0301"),
        ("STRASSE", "Straße"),
        ("ΛΟΓΟΣ", "λογος"),
        ("ＡＢＣ１", "abc1"),
        ("ｸﾞﾙﾒ", "グルメ"),
        ("İstanbul", "istanbul"),
        ("O’Reilly", "o'reilly"),
        ("Wi‑Fi", "wi-fi"),
        ("كِتَاب", "كتـاب"),
        ("סֵפֶר", "ספר"),
        ("❤\ufe0f", "❤"),
        ("pa\u00adper", "paper"),
    ],
)
def test_fold_makes_spellings_equal(one: str, other: str) -> None:
    assert fold(one) == fold(other)


@pytest.mark.parametrize(
    ("one", "other"), [("ı", "i"), ("e", "é"), ("की", "कि"), ("👍🏽", "👍🏿"), ("C", "C+"), ("が", "か")]
)
def test_fold_keeps_letters_apart(one: str, other: str) -> None:
    assert fold(one) != fold(other)


def test_turkish_capitals() -> None:
    assert turkic_fold("IŞIK İL") == turkic_fold("ışık il")
    assert turkic_fold("I\u0307L") == turkic_fold("il")


def test_canonical_keeps_points_and_sharp_s() -> None:
    assert canonical("דָבָר") != canonical("דבר")
    assert canonical("Maße") != canonical("Masse")
    assert canonical("👨\u200d👩\u200d👧") != canonical("👨👩👧")
    assert unicodedata.is_normalized("NFC", canonical("A\u0301İ"))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("One two,  three-four. ", ["One ", "two,  ", "three-four. "]),
        ("回形针很好。「是」 ok 3個", ["回", "形", "针", "很", "好。「", "是」 ", "ok ", "3", "個"]),
        ("น้ำใจ ดี", ["น้ำ", "ใจ ", "ดี"]),
        ("हिन्दी है", ["हिन्दी ", "है"]),
        ("", []),
    ],
)
def test_units(text: str, wanted: list[str]) -> None:
    assert units(text) == wanted
    assert "".join(units(text)) == text
