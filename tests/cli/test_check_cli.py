"""`dipole check` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import AGAINST, CLAIM, PROMPT, Cli
from dipole.shown.numbers import MINUS

POLES = ("--claim", CLAIM, "--against", AGAINST, "--prompt", PROMPT)
SMALL = ("-n", "4", "--told", "3", "--max-new-tokens", "3", "--recognizer", "velma")
WORDS = ("--mention-claim", "paper clip", "--mention-against", "staple")


def test_it_prints_what_it_found_and_what_to_do(cli: Cli, model: Path) -> None:
    result = cli("check", *POLES, *WORDS, *SMALL, "--recognizer", "stance", "--model", model, "-q")
    assert (result.code, result.err) == (0, "")
    assert "velma" in result.out
    assert "stance" in result.out
    assert "of 4" in result.out
    assert "\n- " in result.out
    assert MINUS in result.out or "+" in result.out


def test_numbers_are_json_and_kept_in_a_folder(cli: Cli, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "checked"
    result = cli("check", *POLES, *WORDS, *SMALL, "--model", model, "--json", "--out", out)
    assert result.code == 0
    printed = json.loads(result.out)
    assert printed == json.loads((out / "check.json").read_text("utf-8"))
    assert printed["judged"][0]["name"] == "velma"
    assert printed["choices"][0]["n"] == 4
    text = (out / "check.txt").read_text("utf-8")
    assert all(line in text for line in printed["advice"])
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["verb"] == "check"
    assert manifest["recognizers"] == ["velma"]
    assert cli("check", *POLES, *SMALL, "--model", model, "--out", out).code == 2
    assert cli("check", *POLES, *SMALL, "--model", model, "--out", out, "--overwrite", "-q").code == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--claim", "Tea is best.", "--against", "Tea is worst."), "no prompt"),
        ((*POLES, "--recognizer", "velmo"), "Did you mean 'velma'"),
        ((*POLES, "--seed", "-1"), "--seed"),
        (("--dipole", "nonsense"), "nonsense"),
        ((*POLES, "--told", "0"), "told"),
    ],
)
def test_bad_input_is_told_and_nothing_is_written(
    given: tuple[str, ...], said: str, cli: Cli, tmp_path: Path
) -> None:
    result = cli("check", *given, "--out", tmp_path / "out")
    assert result.code == 2
    assert said in result.err
    assert not (tmp_path / "out").exists()
