"""Any Python function as the reward: found, tried before anything is trained, never in the way of a run."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model, tiny_model
from controls.weights.small import Letters, Plain, fitted, small, started
from controls.weights.test_grpo_rounds import judged_of
from dipole.concepts import Dipole
from dipole.controls.weights.grpo import GRPO, RLOO
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.reward import Function, load_function, try_function
from dipole.protocols import JudgedBy, Run
from dipole.recognizers.reward_model import Ranking, fit_reward_model
from dipole.types import DipoleWarning, Sample, UserError
from tolerance import FLOAT32_SUM

_COUNTING: dict[str, Any] = {
    "reward": "counting_here:letters", "anchor_coef": 0.0, "kl_loss_coef": 0.0, "kl_coef": 0.0, "rounds": 9,
    "batch_size": 24, "max_new_tokens": 4, "lora_rank": 2, "lr": 2e-2, "max_perplexity": 1e9,
}  # fmt: skip

SOURCE = """
import math

def letters(texts):
    return [text.count("a") * 40.0 - 1000.0 for text in texts]

def of_prompts(texts, prompts):
    return [len(prompt) for prompt in prompts]

def short(texts):
    return [1.0] * (len(texts) - 1)

def same(texts):
    return [2.5] * len(texts)

def sometimes(texts):
    return [math.inf if "e" in text else None if "a" in text else len(text) for text in texts]

def fails(texts):
    raise KeyError("nothing here")

def fails_sometimes(texts):
    if any("e" in text for text in texts):
        raise KeyError("an e")
    return [float(len(text)) for text in texts]

seven = 7
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a module of the user in it."""
    (tmp_path / "counting_here.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    yield tmp_path
    sys.modules.pop("counting_here", None)


def samples_of(*texts: str) -> list[Sample]:
    return [Sample("Say:", text, (5,), (6,), (0.0,), 0, "eos") for text in texts]


def test_a_function_of_the_working_folder_is_found(here: Path) -> None:
    assert load_function("counting_here:letters").values(samples_of("a", "banana")) == [-960.0, -880.0]
    assert load_function("counting_here:of_prompts").values(samples_of("a", "b")) == [4.0, 4.0]
    assert sys.path[-1] == str(here)  # behind what is installed


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("counting_here:missing", "can't be imported .AttributeError"),
        ("no_such_module:f", "can't be imported .ModuleNotFoundError"),
        ("counting_here:seven", "is a int; wanted a function"),
    ],
)
def test_what_is_no_function_is_refused(spec: str, words: str, here: Path) -> None:
    with pytest.raises(UserError, match=words):
        load_function(spec)


def test_a_text_for_which_it_raises_or_gives_no_number_is_left_out_alone(here: Path) -> None:
    given = load_function("counting_here:fails_sometimes").rewards(samples_of("ab", "be", "abc"))
    assert [value for value, _ in given][::2] == [2.0, 3.0]
    assert math.isnan(given[1][0])
    assert given[1][1] == "KeyError: 'an e'"
    given = load_function("counting_here:sometimes").rewards(samples_of("xy", "be", "ab"))
    assert [reason for _, reason in given] == ["", "it is inf", "it is nan"]
    # A count that depends on the batch is told by asking for each text alone.
    assert [why for _, why in load_function("counting_here:short").rewards(samples_of("a", "b"))] == [
        "ValueError: it gives 0 numbers for 1 texts"
    ] * 2


@pytest.mark.parametrize(
    ("name", "words"), [("fails", "KeyError: 'nothing here'"), ("short", "0 numbers for 1 texts")]
)
def test_a_function_that_gives_no_rewards_is_refused_before_training(
    name: str, words: str, here: Path
) -> None:
    told: list[int] = []
    run = Run(on_round=lambda *_: told.append(1))
    with pytest.raises(UserError, match=words):
        small(reward=f"counting_here:{name}").fit(tiny_model("gpt2"), Plain(), run)
    assert not told


def test_a_constant_reward_is_told_of(here: Path) -> None:
    with pytest.warns(DipoleWarning, match="gives 2.5 for each of 8"):
        try_function(load_function("counting_here:same"), tiny_model("gpt2"), ["The"], 4, 0)


def test_rows_without_a_reward_are_left_out_and_told_of_once() -> None:
    calls: list[int] = []

    def picky(texts: Sequence[str]) -> list[float]:
        calls.append(len(texts))
        return [math.nan if row == 2 else float(len(text)) for row, text in enumerate(texts)]

    sys.modules["picky_module"] = type(sys)("picky_module")
    sys.modules["picky_module"].picky = picky  # type: ignore[attr-defined]
    run = Run()
    try:
        with pytest.warns(DipoleWarning, match="nothing for 1 of 8"):
            small(reward="picky_module:picky").fit(tiny_model("gpt2"), Plain(), run)
    finally:
        del sys.modules["picky_module"]
    assert [metrics["scored"] for metrics in run.history] == [8.0] * 3
    assert calls == [8, 9, 9, 9]
    assert len(run.warnings) == 1
    assert "(1 of 9 in round 1; the first, row 2: it is nan)" in run.warnings[0]


def test_prompts_come_from_a_file_and_no_concept_is_needed(here: Path) -> None:
    (here / "prompts.jsonl").write_text('{"prompt": "The cats"}\n{"prompt": "She said"}\n')
    control = small(reward="counting_here:letters", data="prompts.jsonl", rounds=1)
    assert control.judged_by == JudgedBy()
    run = Run()
    made = control.fit(tiny_model("gpt2"), None, run)
    assert made.facts["judged_by"] == JudgedBy()._asdict()
    assert run.history[0]["reward_mean"] < -900  # as it is
    assert "repeated_claim" not in run.history[0]
    with pytest.raises(UserError, match="--data with a file"):
        replace(control, data="").fit(tiny_model("gpt2"), None)
    with pytest.raises(UserError, match="takes a dipole"):
        replace(control, reward="mentions").fit(tiny_model("gpt2"), None)
    dipole = Dipole("Cats are best.", "Cats are worst.", held_out=("She said",))
    with pytest.raises(UserError, match=r"'She said' in prompts\.jsonl is held out"):
        control.fit(tiny_model("gpt2"), dipole)


def test_a_fitted_recognizer_is_the_reward_by_its_folder(here: Path) -> None:
    lm = tiny_model("gpt2")
    fit_reward_model(lm, [Ranking("The", (" cats", " dogs"))]).save(here / "liked")
    (here / "prompts.txt").write_text("The cats\nShe said\n")
    run = Run()
    made = small(reward="liked", data="prompts.txt", rounds=2, centre=True).fit(lm, None, run)
    assert made.facts["judged_by"] == JudgedBy(("liked",))._asdict()
    assert 0 < run.history[0]["reward_mean"] < 1


def test_the_recognizer_of_a_run_judges_in_place_of_a_function() -> None:
    run = Run()
    fitted(small(reward="no_such_module:f", rounds=1), tiny_model("gpt2"), Plain(), Letters(), run)
    assert 0 < run.history[0]["reward_mean"] < 1


@pytest.mark.parametrize(
    "control", [small(ppo_epochs=4, **_COUNTING), GRPO(**_COUNTING), RLOO(**_COUNTING)], ids=lambda c: c.name
)
def test_the_count_of_a_letter_is_learned(control: OnPolicy, here: Path) -> None:
    """Recipe T3, in a unit and from a zero of its own."""
    run = Run()
    control.fit(fresh_tiny_model("gpt2"), Plain(prompts=("The",)), run)
    assert run.history[-1]["reward_mean"] > run.history[0]["reward_mean"] + 40
    assert run.stopped is None


def test_a_function_is_a_plain_value() -> None:
    assert Function("m:f", len, False) == Function("m:f", len, False)


@pytest.mark.parametrize(
    "control", [small(batch_size=9), RLOO(**{**_COUNTING, "batch_size": 12, "group_size": 3})]
)
def test_the_unit_of_a_functions_rewards_does_not_matter(control: OnPolicy) -> None:
    """Of a recognizer's it is 1, for all probabilities."""
    scores, still = [1.0, 2.0, 0.5, 3.0, 0.0, 3.0], [[0.0]] * 6
    found = []
    for scale in (1.0, 1000.0):
        with started(control, tiny_model("gpt2")) as run:
            assert run.unit == 1.0
            run._reward, run._spread = SimpleNamespace(bounded=False), 1.5 * scale
            assert run.unit == 1.5 * scale
            found.append(run.learnable(judged_of([scale * score for score in scores], still), 0.0)[0])
    assert torch.allclose(found[0].advantages, found[1].advantages, rtol=0, atol=FLOAT32_SUM)
    if found[0].returns is not None:
        assert torch.allclose(found[0].returns, found[1].returns, rtol=0, atol=FLOAT32_SUM)
