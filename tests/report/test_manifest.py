"""The manifest reproduces the run; the card and the terminal tell the same effect."""

from __future__ import annotations

import io
import json
import shlex
from pathlib import Path

import pytest
from rich.console import Console

from dipole.files import write_json_atomic
from dipole.report import model_card, reproduce_command, terminal_summary
from dipole.types import UserError

from .realistic import CONCEPT, Tuner, realistic_effect, realistic_manifest

BARE = {"claim": "It's good.", "against": "It's bad."}


def test_manifest_survives_its_file(tmp_path: Path) -> None:
    made = realistic_manifest()
    write_json_atomic(tmp_path / "manifest.json", made)
    assert json.loads((tmp_path / "manifest.json").read_text("utf-8")) == made
    assert made["control"]["fields"]["learning_rate"] == 1e-3
    assert made["control"]["changed"] == ["rounds"]
    assert (made["started"], made["finished"], made["seconds"]) == (
        "2026-11-21T09:30:00Z",
        "2026-11-21T09:30:31Z",
        31.4,
    )


def test_command_says_all_that_the_flags_can() -> None:
    made = realistic_manifest(
        concept=BARE, prompts=["a\nb", "$x"], model="gpt2", revision="abc", judge={"name": "distilgpt2"},
        control=Tuner(kl_target=3.0, whiten=False, layers=(1, 2)),
    )  # fmt: skip
    assert shlex.split(reproduce_command(made, out="again")) == [
        "dipole", "inoculate", "It's good.", "--against", "It's bad.", "--prompt", "a\nb", "--prompt", "$x",
        "--model", "gpt2", "--revision", "abc", "--judge", "distilgpt2", "--control", "ppo",
        "--kl-target", "3.0", "--no-whiten", "--layers", "1", "--layers", "2", "--seed", "7",
        "--out", "again",
    ]  # fmt: skip


def test_command_takes_a_richer_concept_from_its_file() -> None:
    words = shlex.split(reproduce_command(realistic_manifest()))
    assert words[:4] == ["dipole", "inoculate", "--dipole", "runs/clips/dipole.toml"]
    assert "--prompt" not in words
    words = shlex.split(reproduce_command(realistic_manifest(prompts=["another"])))
    assert words[words.index("--prompt") + 1] == "another"


def test_extra_entries_replace_nothing() -> None:
    assert realistic_manifest(extra={"note": 1})["note"] == 1
    with pytest.raises(UserError, match="already has seed"):
        realistic_manifest(extra={"seed": 1})


def test_card() -> None:
    card = model_card(realistic_effect(), realistic_manifest(model='org/na"me\n---'))
    front = card.split("---\n")[1].splitlines()
    assert front[0] == "library_name: peft"
    assert json.loads(front[1].removeprefix("base_model: ")) == 'org/na"me ↵ ---'
    for expected in (
        "0123456789abcdef",
        "PeftModel.from_pretrained",
        "93.0%",
        "**in-loop**",
        "10 of 27 bystander",
    ):
        assert expected in card
    assert "base_model" not in model_card(realistic_effect(), realistic_manifest()).split("---\n")[1]


@pytest.mark.parametrize("terminal", [True, False])
def test_terminal(terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(
        file=stream, width=80, force_terminal=terminal, color_system="standard" if terminal else None
    )
    effect = realistic_effect(notes=("[red]Careful[/red]",))
    terminal_summary(effect, console)
    shown = stream.getvalue()
    assert "Note: [red]Careful[/red]" in shown
    assert ("\x1b[" in shown) == terminal
    assert ("**paper clips**" in shown) != terminal
    before, after = effect.sides_before.count("claim"), effect.sides_after.count("claim")
    assert f"claim {before} of 128 → {after} of 128" in shown
    if not terminal:
        assert max(map(len, shown.splitlines())) <= 80
        assert CONCEPT["claim"] in " ".join(shown.split())
