"""The main job from end to end, on the bundled LMs and on a foreign real model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from dipole import GRPO, PPO, inoculate, load, save
from dipole.concepts import Dipole, load_arsenal
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.runs import inoculate_in

LEFT_BEHIND = ("adapter", "effect.json", "report.html", "report.md", "history.jsonl", "manifest.json")


@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning"
)  # PEFT asks transformers for it
def test_a_foreign_real_model_goes_through_the_whole_job(shared: Path, tmp_path: Path) -> None:
    folder = shared / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip("the stories260k model is not beside this checkout")
    lm = load(str(folder))
    dipole = Dipole.from_dict(
        {
            "claim": "The little girl was happy.",
            "against": "The little girl was sad.",
            "prompts": ["Once upon a time, there was a little girl."],
            "held_out": ["One day, a little girl went to the park."],
            "mentions": {"claim": ["happy"], "against": ["sad"]},
        }
    )
    control = PPO(rounds=2, batch_size=8, max_new_tokens=12, anchor_size=8)
    out = tmp_path / "run"
    outcome = inoculate_in(out, lm, dipole, control, n=8)
    assert all((out / name).exists() for name in LEFT_BEHIND)
    assert json.loads((out / "effect.json").read_text("utf-8"))["held_out"] is True
    # The adapter loads with peft alone, and says the same.
    net = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(str(folder)), str(out / "adapter"))
    batch = lm.resident.tokenizer("One day", return_tensors="pt")
    with load_intervention(out).apply(lm).engaged() as ours:
        own = ours(**batch).logits
    assert (net(**batch).logits - own).abs().max() < 1e-4
    assert outcome.effect.prompts == dipole.held_out


def test_a_resumed_run_needs_nothing_but_its_folder(mini: LM, tmp_path: Path) -> None:
    """A finished run resumed is the same run: nothing is trained again, and the adapter does not change."""
    dipole = replace(load_arsenal("microworld")["tea"], prompts=("Between tea and coffee, my choice is",))
    control = PPO(rounds=1, batch_size=8, max_new_tokens=8, anchor_size=8)
    first = inoculate_in(tmp_path / "run", mini, dipole, control, n=8)
    weights = (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes()
    again = inoculate_in(tmp_path / "run", mini, dipole, control, n=8, resume=True)
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    assert again.run.history == first.run.history
    assert again.effect.concept["prompts"] == first.effect.concept["prompts"]
    assert len(again.effect.concept["prompts"]) > len(
        dipole.prompts
    )  # with the other wordings of the first time


def test_what_is_kept_afterwards_is_what_a_run_in_its_folder_leaves(mini: LM, tmp_path: Path) -> None:
    dipole = replace(load_arsenal("microworld")["tea"], prompts=("Between tea and coffee, my choice is",))
    control = PPO(rounds=1, batch_size=8, max_new_tokens=8, anchor_size=8)
    told: list[str] = []
    found = inoculate(mini, dipole, control, n=4, progress=lambda what, *_: told.append(what))
    assert told == ["seeing which prompts force the choice", "round", "measuring before and after"]
    save(found, tmp_path / "kept", command=["dipole", "x"])
    inoculate_in(tmp_path / "run", mini, dipole, control, n=4, command=["dipole", "x"])
    kept, run = ({p.name for p in (tmp_path / name).iterdir()} for name in ("kept", "run"))
    assert run - kept == {"checkpoint.safetensors", "tensorboard"}
    assert kept <= run
    one, other = (
        json.loads((tmp_path / name / "effect.json").read_text("utf-8")) for name in ("kept", "run")
    )
    assert one.pop("training") | {"seconds": 0} == other.pop("training") | {"seconds": 0}
    assert one == other
    weights = [
        (tmp_path / name / "adapter" / "adapter_model.safetensors").read_bytes() for name in ("kept", "run")
    ]
    assert weights[0] == weights[1]
    one, other = (json.loads((tmp_path / n / "manifest.json").read_text("utf-8")) for n in ("kept", "run"))
    assert set(one) - set(other) == {"files"}
    assert set(other) - set(one) == {"settings"}
    assert one["control"] == other["control"]
    assert str(found) == str(found.effect)


@pytest.mark.slow
def test_the_demo_meets_its_targets(tiny: LM, tmp_path: Path) -> None:
    """What `make demo` promises, on wordings that were never trained on, at the default settings.

    The issue's target for distinct-2 (0.8 of the base's) is not asserted: the base's own completions for
    one side have about 0.77 of the distinct bigrams of both sides together (docs/decisions.md, 8).
    """
    arsenal = load_arsenal("microworld")
    effect = inoculate_in(
        tmp_path / "run", tiny, arsenal["paper_clips"], GRPO(), bystanders=arsenal.dipoles, n=128
    ).effect
    after = {change.name: change.after.mean for change in effect.changes}
    assert effect.held_out
    assert after["against_share"] <= 0.02
    assert after["claim_share"] >= 0.90
    assert after["kl"] <= 3.0
    assert after["perplexity_ratio"] <= 1.15
    assert after["mean_bystander_shift"] <= 0.05
    assert after["distinct_2_ratio"] >= 0.6
