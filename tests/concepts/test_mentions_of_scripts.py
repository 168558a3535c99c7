"""Mentions in every script: what is found, where, and what is not."""

from __future__ import annotations

import unicodedata

import pytest

from dipole.concepts import Dipole, Mentions
from dipole.recognizers.mentions import counts
from dipole.shown.text import pieces
from dipole.types import UserError

FOUND = [
    ("回形针", "我觉得回形针比订书钉好。", "回形针"),
    ("回形针", "回形针", "回形针"),
    ("クリップ", "やっぱりクリップが好き。", "クリップ"),
    ("クリップ", "ｸﾘｯﾌﾟが好き", "ｸﾘｯﾌﾟ"),
    ("消しゴム", "赤い消しゴムだ", "消しゴム"),
    ("ねこ", "このねこは白い", "ねこ"),
    ("café", "le cafe\u0301 noir", "cafe\u0301"),
    ("cafe\u0301", "Les CAFÉS", "CAFÉS"),
    ("클립", "저는 클립이 좋아요", "클립이"),
    ("클립", "클립을 샀다", "클립을"),
    ("클립", "클립들에서도", "클립들에서도"),
    ("나무", "나무를", "나무를"),
    ("서울", "서울로 간다", "서울로"),
    ("종이 클립", "종이클립은", "종이클립은"),
    ("iPhone", "iPhone은 좋다", "iPhone"),
    ("C++", "C++를 쓴다", "C++"),
    ("คลิป", "ฉันชอบคลิปมากกว่า", "คลิป"),
    ("ကလစ်", "ငါကလစ်ကြိုက်", "ကလစ်"),
    ("ឃ្លីប", "ខ្ញុំចូលចិត្តឃ្លីបណាស់", "ឃ្លីប"),
    ("किताब", "मेरी किताब।", "किताब"),
    ("புத்தகம்", "இது புத்தகம்.", "புத்தகம்"),
    ("বই", "আমার বই।", "বই"),
    ("كتاب", "هذا كِتَاب", "كِتَاب"),
    ("كتاب", "قرأت والكتاب", "والكتاب"),
    ("شاي", "أحب الشاي", "الشاي"),
    ("كتاب", "كتـــاب", "كتـــاب"),
    ("ספר", "הסֵּפֶר", "הסֵּפֶר"),
    ("תה", "אני אוהב תה.", "תה"),
    ("کتاب", "کتاب‌ها", "کتاب"),
    ("کتاب‌ها", "کتاب ها", "کتاب ها"),
    ("کتاب‌ها", "کتابها", "کتابها"),
    ("می‌خواهم", "من می‌خواهم", "می‌خواهم"),
    ("скрепка", "Скрепка!", "Скрепка"),
    ("п'ять", "пʼять", "пʼять"),
    ("λόγος", "ΛΌΓΟΣ", "ΛΌΓΟΣ"),
    ("Straße", "IN DER STRASSE", "STRASSE"),
    ("ışık", "IŞIK", "IŞIK"),
    ("istanbul", "İSTANBUL", "İSTANBUL"),
    ("İstanbul", "istanbul'da", "istanbul"),
    ("❤️", "I ❤ it", "❤"),
    ("❤", "ok❤️!", "❤️"),
    ("👍", "ok 👍🏽", "👍🏽"),
    ("👩‍💻", "a 👩🏽‍💻.", "👩🏽‍💻"),
    ("🇩🇪", "🇫🇷🇩🇪", "🇩🇪"),
    ("5️⃣", "Nr. 5️⃣", "5️⃣"),
    ("C++", "我用C++写", "C++"),
    ("C#", "in C#.", "C#"),
    (".NET", "the .NET world", ".NET"),
    ("AT&T", "at&t,", "at&t"),
    ("O'Reilly", "by O’Reilly’s", "O’Reilly"),
    (":)", "nice:)", ":)"),
    ("agrafe", "L’agrafe", "agrafe"),
    ("staple", "the staple’s end", "staple"),
    ("clip", "**_clips_**", "clips"),
    ("clip", "tea.Clips", "Clips"),
    ("paper clip", "paper\u00a0clip", "paper\u00a0clip"),
    ("paper clip", "Paper‑Clips", "Paper‑Clips"),
    ("paper clip", "pa\u00adper\u00adclip", "pa\u00adper\u00adclip"),
    ("paper clip", "ｐａｐｅｒ ｃｌｉｐ", "ｐａｐｅｒ ｃｌｉｐ"),
    ("-5", "it is −5 now", "−5"),
    ("5", "5-10", "5"),
    ("5", "5個", "5"),
    ("3.5", "about 3.5.", "3.5"),
    ("MP3", "two MP3s", "MP3s"),
]


@pytest.mark.parametrize(("mention", "text", "found"), FOUND)
def test_found_where_it_stands(mention: str, text: str, found: str) -> None:
    dipole = Dipole("One.", "Two.", mentions=Mentions((mention,), ("zzz",)))
    assert counts(text, dipole) == (1, 0)
    assert dipole.side_taken(text) == "claim"
    marked = [piece.text for piece in pieces(text, {"claim": [mention]}) if piece.side]
    assert marked == [found]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize(("mention", "text", "found"), FOUND)
def test_found_in_any_normal_form(mention: str, text: str, found: str, form) -> None:
    dipole = Dipole("One.", "Two.", mentions=Mentions((mention,), ("zzz",)))
    assert counts(unicodedata.normalize(form, text), dipole) == (1, 0)


@pytest.mark.parametrize(
    ("mention", "text"),
    [
        ("クリップ", "ペーパークリップ"),
        ("클립", "클립보드"),
        ("클립", "종이클립"),
        ("사", "사과"),
        ("कि", "किताब"),
        ("क", "की"),
        ("র", "রি"),
        ("த", "தி"),
        ("கல", "கல்"),
        ("กา", "เกา"),
        ("น", "น้ำ"),
        ("ក", "ក្រដាស"),
        ("人", "人々"),
        ("か", "か\u3099"),
        ("cafe", "café"),
        ("cafe", "cafe\u0301"),
        ("kir", "kır"),
        ("بن", "لبن"),
        ("s", "Straß"),
        ("👩", "👩‍💻"),
        ("👨‍👩‍👧", "👨👩"),
        ("👍🏽", "👍🏿"),
        ("🇩🇪", "🇫🇷🇩🇰"),
        ("5", "5️⃣"),
        ("5", "-5"),
        ("5", "5.5"),
        ("5", "1,500"),
        ("-5", "10-5"),
        ("C", "C++"),
        ("C", "C#"),
        ("C++", "C++x"),
        (".NET", "asp.net"),
        ("5-10", "510"),
        ("staple", "stapler"),
        ("paper clip", "newspaper clip"),
        ("paper clip", "paper\0clip"),
        ("скреп", "скрепка"),
    ],
)
def test_not_found_inside_another(mention: str, text: str) -> None:
    assert counts(text, Dipole("One.", "Two.", mentions=Mentions((mention,), ("zzz",)))) == (0, 0)


@pytest.mark.parametrize(
    ("claim", "against", "text", "wanted"),
    [
        ("茶", "茶包", "茶包不是茶", (1, 1)),
        ("C", "C++", "C++ or C", (1, 1)),
        ("5", "-5", "-5 and 5 and 5", (2, 1)),
        ("कि", "की", "की कि की", (1, 2)),
        (":)", ":(", ":) :(:(", (1, 2)),
        ("👍", "👎", "👍👎👎", (1, 2)),
        ("résumé", "resume", "résumé, resume", (1, 1)),
    ],
)
def test_sides_that_differ_in_one_sign(claim: str, against: str, text: str, wanted: tuple[int, int]) -> None:
    dipole = Dipole("One.", "Two.", mentions=Mentions((claim,), (against,)))
    assert counts(text, dipole) == wanted
    assert counts(text, dipole.swapped()) == wanted[::-1]


@pytest.mark.parametrize(
    "pair",
    [
        ("café", "CAFE\u0301"),
        ("Straße", "strasse"),
        ("كِتَاب", "كتاب"),
        ("Wi-Fi", "wi‑fi"),
        ("❤", "❤️"),
        ("ＡＢ", "ab"),
    ],
)
def test_two_spellings_of_a_word_can_not_be_on_both_sides(pair: tuple[str, str]) -> None:
    with pytest.raises(UserError, match="both sides"):
        Mentions((pair[0],), (pair[1],))


@pytest.mark.parametrize("word", ["\u200b", "\u00ad", "‑", "\u0650", "\ufeff"])
def test_a_word_of_nothing_that_is_seen_is_empty(word: str) -> None:
    with pytest.raises(UserError, match="empty word"):
        Mentions((word,))


def test_places_are_those_of_the_text_behind_signs_that_fold_longer() -> None:
    cut = pieces("Straße ﬁn İ clip.", {"claim": ["clip"]})
    assert [piece.text for piece in cut] == ["Straße ﬁn İ ", "clip", "."]
