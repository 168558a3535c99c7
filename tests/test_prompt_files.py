"""Prompts from files of all forms, and what is said of those that have none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dipole.corpora.prompts import read_prompts
from dipole.types import DipoleWarning, UserError


def test_a_prompt_a_line_or_a_row(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The cats \n\nShe said\n")
    assert read_prompts(tmp_path / "a.txt") == ("The cats ", "She said")
    chat = [{"role": "user", "content": "Which one?"}]
    rows = [{"prompt": "The cats", "other": 1}, {"prompt": chat}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_prompts(tmp_path / "a.jsonl") == ("The cats", "Which one?")
    (tmp_path / "a.csv").write_text('id,prompt\n1,"Tea, or coffee"\n2,The cats\n')
    assert read_prompts(tmp_path / "a.csv") == ("Tea, or coffee", "The cats")


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    file = tmp_path / "p.jsonl"
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    file.write_text('{"prompt": "One"}\n{"text": "none"}\n{"prompt": "One"}\n' + json.dumps({"prompt": talk}))
    with pytest.warns(DipoleWarning, match=r"2 rows were left out \(the first, p.jsonl:2, has no `prompt`\)"):
        assert read_prompts(file) == ("One",)
    with pytest.warns(DipoleWarning, match="1 came before"):
        read_prompts(file)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("p.jsonl", '{"prompt": ["a"]}\n', "p.jsonl:1 has a `prompt` that is a list"),
        ("p.jsonl", '{"prompt": "cut', "p.jsonl:1 is no JSON"),
        ("p.txt", "\n", "There is no prompt to use"),
        ("p.csv", "text\nhello\n", "has no column `prompt`"),
        ("p.md", "The cats\n", "There are no prompts at"),
    ],
)
def test_a_file_without_prompts_is_refused(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=words):
        read_prompts(tmp_path / name)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="There are no prompts at"):
        read_prompts(tmp_path / "none.jsonl")
