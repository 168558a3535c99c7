"""Fitting into a folder: what it holds, that it is whole or untouched, and what is said about the choice."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import tiny_model
from dipole.concepts import Dipole, load_dipole
from dipole.controls.ablate import Ablate
from dipole.controls.best_of import BestOf
from dipole.controls.fit import Fitted, fit
from dipole.controls.prompt import Prompt
from dipole.controls.said import rows_of, selection_of, verdict_of
from dipole.controls.weights.ppo import PPO
from dipole.files import MARKER
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.progress import silent
from dipole.runs import keeping
from dipole.types import UserError

DIPOLE = Dipole(
    "Paper clips are the best.",
    "Paper clips are the worst.",
    prompts=("If I had to choose between paper clips and staples,", "The cats"),
)
SMALL = Prompt(shots="0,1", candidates=2, n=2, max_new_tokens=4)


def kept(lm: LM, concept: Any, control: Any, out: Path | str, progress: Any = silent, **how: Any) -> Fitted:
    """Fit into a folder, as the command does."""
    with keeping(out, **how) as keep:
        return keep(fit(lm, concept, control, progress))


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_folder_holds_what_reproduces_it(tmp_path: Path) -> None:
    lm, out = tiny_model("gpt2"), tmp_path / "deep" / "p"
    fitted = kept(lm, DIPOLE, SMALL, out, command=["dipole", "fit", "prompt"])
    names = {MARKER, "README.md", "dipole.json", "dipole.toml", "manifest.json"}
    assert {p.name for p in out.iterdir()} == names
    assert [p.name for p in out.parent.iterdir()] == ["p"]
    assert load_dipole(out / "dipole.toml") == DIPOLE
    facts = json.loads((out / "manifest.json").read_text())
    assert facts["control"]["name"] == "prompt"
    assert facts["control"]["fields"]["shots"] == "0,1"
    assert facts["model"]["fingerprint"] == lm.resident.fingerprint
    assert facts["command"] == "dipole fit prompt"
    assert facts["verb"] == "fit"
    assert set(facts["files"]) == names - {MARKER}
    assert facts["started"] <= facts["finished"]
    meta = json.loads((out / "dipole.json").read_text())
    assert fitted.selection == selection_of(meta)
    card = (out / "README.md").read_text()
    assert fitted.verdict
    assert all(
        text in card for text in ("# Paper clips are the best.", "How it was chosen", "dipole fit prompt")
    )


def test_what_is_returned_is_what_loads(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    fitted = kept(lm, DIPOLE, SMALL, tmp_path / "p")
    steered = [made.apply(lm) for made in (fitted.intervention, load_intervention(tmp_path / "p"))]
    one, other = (lm.response_logits(["The cats"], [[5, 6]])[0] for lm in steered)
    assert torch.equal(one, other)


def test_training_is_kept_without_checkpoints(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    told: list[tuple[object, ...]] = []
    control = PPO(rounds=2, batch_size=8, max_new_tokens=4)
    fitted = kept(lm, DIPOLE, control, tmp_path / "a", lambda *step: told.append(step))
    assert [step[:3] for step in told] == [("round", 1, 2), ("round", 2, 2)]
    assert str(told[0][3]).startswith("reward ")
    assert fitted.selection is None
    assert (fitted.verdict, fitted.stopped) == ("", None)
    history = (tmp_path / "a" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in history] == [0, 1]
    assert not (tmp_path / "a" / "checkpoint.safetensors").exists()
    assert load_intervention(tmp_path / "a").kind == "adapter"


def test_nothing_is_written_when_fitting_fails(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no prompts"):
        kept(tiny_model("gpt2"), Dipole("a b.", "c d."), SMALL, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_an_older_fit_stays_until_the_new_one_is_there(tmp_path: Path) -> None:
    lm, out = tiny_model("gpt2"), tmp_path / "p"
    kept(lm, DIPOLE, PPO(rounds=1, batch_size=8, max_new_tokens=4), out)
    (out / "notes.md").write_text("mine")
    before = files(out)
    with pytest.raises(UserError, match="overwrite=True"):
        kept(lm, DIPOLE, BestOf(), out)
    with pytest.raises(UserError, match="no prompts"):
        kept(lm, Dipole("a b.", "c d."), SMALL, out, overwrite=True)
    assert files(out) == before
    kept(lm, DIPOLE, BestOf(), out, overwrite=True)
    assert set(files(out)) == {
        MARKER,
        "README.md",
        "dipole.json",
        "dipole.toml",
        "manifest.json",
        "notes.md",
    }
    assert load_intervention(out).kind == "best_of"
    assert [p.name for p in tmp_path.iterdir()] == ["p"]


def test_a_foreign_folder_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")

    class Never(BestOf):
        def fit(self, *_: Any) -> Any:
            raise AssertionError

    with pytest.raises(UserError, match="left alone"):
        kept(tiny_model("gpt2"), DIPOLE, Never(), tmp_path, overwrite=True)
    assert files(tmp_path) == {"thesis.tex": b"mine"}


def test_empty_and_relative_folders_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    kept(tiny_model("gpt2"), DIPOLE, BestOf(), "empty")
    kept(tiny_model("gpt2"), DIPOLE, BestOf(), "new")
    assert files(tmp_path / "empty").keys() == files(tmp_path / "new").keys()


def chosen(
    score: float | None, ratio: float = 1.0, base: float | None = 0.5, others: int = 1
) -> dict[str, Any]:
    trial = {"candidate": {"layer": 2, "scale": 0.5}, "push": 0.5, "score": score, "perplexity_ratio": ratio}
    rest = [
        {"candidate": {"layer": 9, "scale": k / 3}, "push": k, "score": k / 100, "perplexity_ratio": 9.0}
        for k in range(others)
    ]
    return {"chosen": others, "trials": [*rest, trial], "base_score": base, "rule": "r", "prompts": []}


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        (
            chosen(0.9),
            "With the best of 2 candidates the mean probability of the claim went from 0.50 to",
        ),
        (chosen(0.9, others=0), "With the only candidate the mean"),
        (chosen(0.9, ratio=1.31), "No candidate kept the text fluent"),
        (chosen(0.54), "It did nothing that can be seen"),
        (chosen(0.46), "It did nothing that can be seen"),
        (chosen(0.4), "It moves the wrong way"),
        (chosen(0.97, base=0.95), "There was nothing to move"),
        (chosen(0.8, base=0.95), "It moves the wrong way"),
        (chosen(None), "Nothing is known"),
        (chosen(0.9, base=None), "Nothing is known"),
    ],
)
def test_the_verdict_is_in_plain_words(selection: dict[str, Any], words: str) -> None:
    assert verdict_of(selection).startswith(words)


def test_the_table_has_the_best_and_the_chosen_in_the_order_tried() -> None:
    selection = chosen(math.nan, others=20)
    header, rows = rows_of(selection, most=4)
    assert header[:2] == ["layer", "scale"]
    assert [row[2] for row in rows] == ["0.170", "0.180", "0.190", "n/a"]
    assert [row[-1] for row in rows] == ["", "", "", "chosen"]
    assert rows[0][1] == "5.667"


def test_a_choice_is_found_wherever_an_intervention_keeps_it() -> None:
    found = chosen(0.9)
    assert selection_of({"selection": found}) == found
    assert selection_of({"facts": {"selection": found}}) == found
    assert selection_of({"facts": {}}) is None
    assert selection_of({"selection": {"trials": []}}) is None


def test_a_control_that_chooses_by_another_measure(tiny: LM, tmp_path: Path) -> None:
    fitted = kept(
        tiny, load_dipole("paper_clips"), Ablate(n=2, max_new_tokens=4, max_layers=1), tmp_path / "a"
    )
    assert (fitted.selection, fitted.verdict) == (None, "")
    assert (tmp_path / "a" / "README.md").is_file()
