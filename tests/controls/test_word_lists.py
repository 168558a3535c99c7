"""Lists of words: how they are read, and what is said about words that tokens can't stand for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from dipole.concepts import load_dipole
from dipole.controls._word_list import tokens_of, words_of
from dipole.controls._words import bags_of
from dipole.controls.boost import Boost
from dipole.lm import LM
from dipole.types import DipoleWarning, UserError

WANTED = ["clips", "paper clips", "café"]


@pytest.mark.parametrize(
    "content",
    [
        "clips\npaper clips\ncafé\n".encode(),
        "\ufeffclips\npaper clips\ncafé\n".encode(),
        "clips\r\npaper clips\r\n\r\ncafé".encode(),
        "clips\rpaper clips\rcafé\r".encode(),
        "clips\r\n\n paper clips \rcafe\u0301\nclips".encode(),
        "# my words\nclips\n#\npaper clips\ncafé".encode(),
        "clips\npaper clips\ncafé\n".encode("utf-16"),
        b"\xfe\xff" + "clips\npaper clips\ncafé\n".encode("utf-16-be"),
        "clips\npaper clips\ncafé\n".encode("utf-32"),
    ],
)
def test_a_file_of_words(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_bytes(content)
    assert words_of(str(tmp_path / "w.txt"), "words") == WANTED


def test_words_of_a_file_may_hold_any_sign_but_a_line_end(tmp_path: Path) -> None:
    words = ["red, white and blue", "C#", "#tea", "and/or", "a\u2028b", "x\x0cy", "回形针，茶"]
    (tmp_path / "w").write_text("\n".join(words), "utf-8")
    assert words_of(str(tmp_path / "w"), "words") == words


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (",".join(f"word{k}" for k in range(100)), [f"word{k}" for k in range(100)]),
        ("a" * 300, ["a" * 300]),
        ("x" * 5000 + ",y", ["x" * 5000, "y"]),
        ("回形针，订书钉、茶", ["回形针", "订书钉", "茶"]),
        ("and/or, either", ["and/or", "either"]),
        ("cafe\u0301,café", ["café"]),
        ("a\0b,c", ["a\0b", "c"]),
        ("~nobody_is_called_this,x", ["~nobody_is_called_this", "x"]),
    ],
)
def test_a_list_of_words_is_no_path(text: str, wanted: list[str]) -> None:
    assert words_of(text, "words") == wanted


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"clips\nca\xe9\n", r"line 2 is no text in UTF-8"),
        (b"clips\0\n", "it is binary"),
        ("clips\n".encode("utf-16-le"), "it is binary"),
        (b"", "holds no word"),
        (b"\xef\xbb\xbf\n \r\n# no\n", "holds no word"),
    ],
)
def test_a_file_without_words_is_refused(content: bytes, problem: str, tmp_path: Path) -> None:
    (tmp_path / "w.txt").write_bytes(content)
    with pytest.raises(UserError, match=problem):
        words_of(str(tmp_path / "w.txt"), "words")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="it is a folder"):
        words_of(f"{tmp_path}/", "words")
    with pytest.raises(UserError, match="There is no file"):
        words_of(str(tmp_path / "none.txt"), "words")
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(UserError, match="no plain file"):
        words_of(str(tmp_path / "pipe.txt"), "words")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "w.txt").open("wb") as stream:
        stream.truncate((1 << 26) + 1)
    with pytest.raises(UserError, match="at most 67108864 are read"):
        words_of(str(tmp_path / "w.txt"), "words")


@pytest.mark.parametrize("words", ["回形针,订书钉", "किताब,कलम", "คลิป", "😀,👍"])
def test_words_that_begin_with_a_part_of_a_character_are_refused(words: str, tiny: LM) -> None:
    with pytest.raises(
        UserError, match=r"None of the words begins with a token .*(part of a character|a blank)"
    ):
        bags_of(tiny, load_dipole("paper_clips"), words, "", 4, (), whole=False)


def test_what_is_left_out_is_said(tiny: LM) -> None:
    dipole = load_dipole("paper_clips")
    with pytest.warns(
        DipoleWarning, match=r"Of the words, left out: 茶 \(its first token is a part of a character\)"
    ):
        bags = bags_of(tiny, dipole, "cats,茶", "", 4, (), whole=False)
    assert len(bags.claim) == 1
    with pytest.warns(
        DipoleWarning, match="the same token count once: ' paper' for paper clips and paper weights"
    ):
        bags = bags_of(tiny, dipole, "cats,paper clips,paper weights", "", 4, (), whole=False)
    assert len(bags.claim) == 2
    with pytest.warns(
        DipoleWarning, match=r"counts by its first: ' st' for stapler.* Of the against_words, left out: 茶"
    ):
        bags_of(tiny, dipole, "stapler", "dogs,茶", 4, (), whole=False)


def test_words_that_differ_and_begin_the_same_are_refused(tiny: LM) -> None:
    with pytest.raises(
        UserError, match=r"All words begin with the same token ' paper' \(paper clips, paper weights\)"
    ):
        bags_of(tiny, load_dipole("paper_clips"), "paper clips,paper weights", "", 4, (), whole=False)


def test_the_warning_comes_from_the_control(tiny: LM) -> None:
    with pytest.warns(DipoleWarning, match="' paper' for paper clips"):
        Boost(words="paper clips", weights="2", n=2, max_new_tokens=2).fit(tiny, load_dipole("paper_clips"))


class Words:
    """A stand-in for a resident whose tokenizer knows some words, and nothing else."""

    unk_token_id = 0

    def __init__(self, *texts: str) -> None:
        self.texts = ("<unk>", *texts)
        self.tokenizer = self

    def continuation_ids(self, text: str) -> list[int]:
        if not text:
            return []
        starts = [i for i, known in enumerate(self.texts) if i and text.startswith(known)]
        best = max(starts, key=lambda i: len(self.texts[i]), default=0)
        return [best, *self.continuation_ids(text[len(self.texts[best]) :] if best else text[1:])]

    def decode(self, prefix: Any, ids: list[int]) -> str:
        return "".join(self.texts[i] for i in ids)


def test_a_word_of_a_script_without_blanks_has_none_in_front() -> None:
    resident: Any = Words("回", "回形针", " ", " 클립", "クリップ", " tea", "茶")
    words = ["回形针", "클립", "クリップ", "tea", "茶"]
    assert tokens_of(resident, words, "words", True) == ((2, 4, 5, 6, 7), "")


def test_a_word_that_the_tokenizer_can_not_write_is_left_out() -> None:
    resident: Any = Words(" tea", " ")
    tokens, note = tokens_of(resident, ["tea", "पानी", "茶"], "words", False)
    assert tokens == (1,)
    assert "पानी (its first token is a blank), 茶 (the tokenizer can't write it)" in note
