"""GRPO and its kin on tiny random models: groups, missing rewards, ratios, split batches, a resumed run."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model
from controls.weights.small import (
    PROMPTS,
    Constant,
    Letters,
    Plain,
    fitted,
    gradients,
    largest_difference,
    started,
    weights_hash,
)
from dipole.controls.weights.grpo import GRPO, RLOO
from dipole.controls.weights.on_policy_rounds import Judged
from dipole.controls.weights.policy import PolicyOutput
from dipole.protocols import Run
from dipole.types import UserError
from reference import grpo as slow
from tolerance import FLOAT32_SUM, GRADIENT

_SHARED: dict[str, Any] = {
    "anchor_coef": 0.0, "kl_loss_coef": 0.0, "centre": False, "rounds": 3, "batch_size": 12, "group_size": 3,
    "epochs": 2, "max_new_tokens": 5, "lora_rank": 2, "lr": 1e-3,
}  # fmt: skip
SMALL, LOO = GRPO(**_SHARED), RLOO(**_SHARED)
both = pytest.mark.parametrize("control", [SMALL, LOO], ids=["grpo", "rloo"])


def judged_of(scores: list[float], nats: list[list[float]]) -> Judged:
    """One token a row or two, and a reference that finds each as likely as certain."""
    logprobs = torch.tensor(nats)
    zero = torch.zeros_like(logprobs)
    values = torch.tensor(scores)
    mask = torch.ones_like(logprobs) * ~values.isnan()[:, None]
    return Judged(PolicyOutput(logprobs, zero, zero, zero), zero, values, mask)


@both
def test_a_group_is_of_one_prompt_and_all_prompts_have_their_turn(control: GRPO) -> None:
    with started(control, fresh_tiny_model("gpt2")) as run:
        asked = [[sample.prompt for sample in run._sample(index)] for index in range(3)]
    groups = [prompts[start : start + 3] for prompts in asked for start in range(0, 12, 3)]
    assert all(len(set(group)) == 1 for group in groups)
    assert [group[0] for group in groups] == [*PROMPTS] * 4


@pytest.mark.parametrize("kind", ["group", "centred", "leave_one_out"])
def test_advantages_are_of_the_reward_less_the_price_of_its_kl(kind: Any) -> None:
    """In units of the first round's spread, which bounds the divisor of a group."""
    control = replace(SMALL, advantage=kind, batch_size=6, min_std=0.5)
    nats = [[0.1, 0.2], [0.0, -0.4], [0.3, 0.3], [0.2, 0.0], [1.0, 1.0], [0.5, 0.0]]
    scores = [1.0, 2.0, 0.5, 3.0, math.nan, 3.0]
    rewards = [score - 0.1 * sum(row) for score, row in zip(scores, nats, strict=True)]
    spread = 1.5
    wanted = [a for at in (0, 3) for a in slow.advantages(rewards[at : at + 3], kind, 0.5 * spread)]
    unit = 1.0 if kind == "group" else spread
    with started(control, fresh_tiny_model("gpt2")) as run:
        run._spread = spread
        learn, said = run.learnable(judged_of(scores, nats), 0.1)
    assert learn.advantages[:, 0].tolist() == pytest.approx([a / unit for a in wanted], abs=FLOAT32_SUM)
    assert torch.equal(learn.advantages[:, 0], learn.advantages[:, 1])
    assert learn.mask[4].abs().sum() == 0
    assert said == {"flat_groups": 0.5}  # 3 and 3 alone are known of the second


def test_a_running_baseline_is_of_earlier_rounds_alone() -> None:
    control = replace(SMALL, advantage="running", batch_size=3, group_size=1)
    with started(control, fresh_tiny_model("gpt2")) as run:
        nothing = [[0.0]] * 3
        found = [
            run.learnable(judged_of(scores, nothing), 0.0)[0].advantages[:, 0].tolist()
            for scores in ([0.0, 3.0, 6.0], [1.0, math.nan, 2.0], [0.0, 1.0, 2.0])
        ]
        kept = run.numbers()
    assert found[0] == pytest.approx([-4.5, 0.0, 4.5])  # of the first, the mean of the others
    assert found[1] == pytest.approx([-2.0, 0.0, -1.0])  # less 3
    assert found[2] == pytest.approx([-2.25, -1.25, -0.25])  # less the mean of 3 and 1.5
    assert (kept["earlier"], kept["rounds"]) == (5.5, 3.0)


@both
def test_at_step_0_every_ratio_is_exactly_1_and_every_kl_exactly_0(control: GRPO) -> None:
    for minibatch, micro in ((0, 0), (4, 3)):
        still = replace(control, lr=0.0, epochs=1, minibatch_size=minibatch, micro_batch_size=micro)
        with started(still, fresh_tiny_model("llama")) as run:
            metrics = run.round(0)
        assert (metrics["kl"], metrics["kl_k3"], metrics["clip_fraction"]) == (0.0, 0.0, 0.0)
        assert metrics["ratio_max"] == 1.0
        assert metrics["grad_norm"] > 0
    assert "value_loss" not in metrics


@both
def test_equal_rewards_move_nothing(control: GRPO) -> None:
    lm = fresh_tiny_model("gpt2")
    with started(replace(control, kl_coef=0.0), lm, Constant(0.7), spread=0.1) as run:
        before = {n: p.detach().clone() for n, p in run.parameters.items()}
        metrics = run.round(0)
        assert all(torch.equal(p, before[n]) for n, p in run.parameters.items())
        assert not any("value" in name for name in run.parameters)  # there is no critic
    assert (metrics["grad_norm"], metrics["flat_groups"]) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("length", "ratio"), [("sequence", "token"), ("token", "sequence"), ("constant", "token")]
)
def test_micro_batches_split_one_gradient(length: Any, ratio: Any) -> None:
    lm = fresh_tiny_model("llama")
    control = replace(SMALL, lr=0.0, length=length, ratio=ratio, minibatch_size=5, epochs=1)
    whole = gradients(control, lm)
    assert largest_difference(whole, gradients(replace(control, micro_batch_size=2), lm)) < GRADIENT


@both
def test_an_unscored_row_is_left_out(control: GRPO) -> None:
    with started(control, fresh_tiny_model("gpt2"), Letters(unscored=2)) as run:
        metrics = run.round(0)
    assert metrics["scored"] == 10.0
    assert all(math.isfinite(value) for value in metrics.values())


def test_the_base_is_untouched_and_a_broken_run_goes_on_where_it_was(tmp_path: Path) -> None:
    lm, control = fresh_tiny_model("gpt2"), replace(SMALL, rounds=4, advantage="running")
    before = weights_hash(lm.resident.model)
    unbroken = fitted(control, lm, Plain(), Letters())

    def fail(index: int, *_: Any) -> None:
        if index == 1:
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        fitted(control, lm, Plain(), Letters(), Run(folder=tmp_path, on_round=fail))
    run = Run(folder=tmp_path, resume=True)
    resumed = fitted(control, lm, Plain(), Letters(), run)
    assert all(torch.equal(unbroken.state[name], resumed.state[name]) for name in unbroken.state)
    assert [int(metrics["round"]) for metrics in run.history] == [0, 1, 2, 3]
    assert weights_hash(lm.resident.model) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"group_size": 1}, "group_size is 1"),
        ({"group_size": 5}, "multiple of group_size, and 12 is none of 5; take 10"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"advantage": "best"}, "advantage must be group, centred"),
        ({"length": "long"}, "length must be sequence"),
        ({"min_std": math.nan}, "min_std must be 0 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(SMALL, **changes)
