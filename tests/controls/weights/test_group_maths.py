"""Learning without a critic against slow loops, golden numbers, and a bandit, all groups enumerated."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from controls.weights.test_ppo_maths import mask_of, padded, ragged
from dipole.controls.weights.group_maths import (
    changes,
    flat_groups,
    group_advantages,
    row_weights,
    surrogate,
)
from dipole.controls.weights.head import exact_kl
from reference import grpo as slow
from tolerance import ESTIMATE, LOSS, MOMENTS

KINDS: tuple[Any, ...] = ("group", "centred", "leave_one_out")
LENGTHS: tuple[Any, ...] = ("sequence", "token", "constant")
RATIOS: tuple[Any, ...] = ("token", "sequence")
POLICY, REWARDS = (0.5, 0.3, 0.2), (0.0, 0.1, 1.0)  # recipe 8 (e) 2


def doubles(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "first", "others"),
    [("group", 1.4997, -0.4999), ("centred", 0.75, -0.25), ("leave_one_out", 1.0, -1 / 3)],
)
def test_advantages_golden_numbers(kind: Any, first: float, others: float) -> None:
    found = group_advantages(doubles(1, 0, 0, 0), 4, kind)
    assert found.tolist() == pytest.approx([first] + [others] * 3, abs=5e-5)
    assert torch.allclose(group_advantages(doubles(8, 7, 7, 7), 4, kind), found, rtol=0, atol=MOMENTS)
    threefold = group_advantages(doubles(3, 0, 0, 0), 4, kind)
    assert torch.allclose(threefold, found * (1 if kind == "group" else 3), rtol=0, atol=3e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("floor", [0.0, 0.7])
def test_advantages_equal_the_loop_within_each_group(kind: Any, floor: float) -> None:
    rewards = [0.3, -1.0, 2.0, 0.5, 0.5, 0.5, math.nan, 4.0, 1.0, math.nan, math.nan, 0.2, *[math.nan] * 3]
    wanted = [
        a for start in range(0, 15, 3) for a in slow.advantages(rewards[start : start + 3], kind, floor)
    ]
    found = group_advantages(doubles(*rewards), 3, kind, floor)
    assert found.tolist() == pytest.approx(wanted, abs=MOMENTS)


def test_two_rewards_a_group_keep_nothing_of_their_size_once_divided() -> None:
    for pair in ((1.0, 0.0), (100.0, 99.99)):
        found = group_advantages(doubles(*pair), 2, "group")
        assert found.abs().max().item() == pytest.approx(0.7071, abs=0.011)
    floored = group_advantages(doubles(100.0, 99.99), 2, "group", floor=0.5)
    assert floored.abs().max() < 0.011


def test_groups_without_a_difference_are_counted() -> None:
    rewards = doubles(1, 1, 0, 1, math.nan, 0.5, math.nan, math.nan)
    assert flat_groups(rewards, 2) == 0.75
    assert group_advantages(doubles(1, 1), 2, "group").tolist() == [0, 0]


def expected_gradient(advantages: Callable[[Tensor], Tensor], size: int = 2) -> Tensor:
    """Gradient of the expected loss with respect to the logits: every group, times its probability."""
    logits = doubles(*POLICY).log().requires_grad_()
    rewards, total = doubles(*REWARDS), torch.zeros(3, dtype=torch.float64)
    mask = torch.ones(size, 1, dtype=torch.float64)
    for group in itertools.product(range(3), repeat=size):
        logprobs = logits.log_softmax(0)[list(group), None]
        change, real = changes(logprobs, logprobs.detach(), mask, "token")
        weights = row_weights(mask, mask, "constant", 1)[:, None]
        found = surrogate(change, advantages(rewards[list(group)])[:, None], 0.2)
        (slope,) = torch.autograd.grad((found * real * weights).sum(), logits)
        total += slope * math.prod(POLICY[action] for action in group)
    return -total


def test_leave_one_out_is_unbiased_and_the_mean_with_itself_is_short_of_it() -> None:
    exact = doubles(*slow.policy_gradient(POLICY, REWARDS))
    assert exact.tolist() == pytest.approx([-0.115, -0.039, 0.154], abs=MOMENTS)
    for size in (2, 3):
        found = expected_gradient(lambda r, n=size: group_advantages(r, n, "leave_one_out"), size)  # type: ignore[misc]
        assert torch.allclose(found, exact, rtol=0, atol=MOMENTS)
        found = expected_gradient(lambda r, n=size: group_advantages(r, n, "centred"), size)  # type: ignore[misc]
        assert torch.allclose(found, exact * (size - 1) / size, rtol=0, atol=MOMENTS)


def test_dividing_by_the_deviation_turns_a_gradient_round() -> None:
    found = expected_gradient(lambda rewards: group_advantages(rewards, 2, "group"))
    assert found.tolist() == pytest.approx([-0.1766, 0.0635, 0.1131], abs=5e-5)  # of the second, the sign


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("ratio", RATIOS)
def test_the_loss_equals_the_loop_and_ignores_padding(length: Any, ratio: Any) -> None:
    new, old = ragged(1, scale=0.2), ragged(2, scale=0.2)
    advantage = [0.7, -1.2, 0.1, 2.0, -0.4, 0.9]
    wanted = slow.loss(new, old, advantage, 0.2, length, ratio, 9)
    for filler in (0.0, 4.0):
        mask = mask_of(new)
        change, real = changes(padded(new, filler), padded(old), mask, ratio)
        weights = row_weights(mask, mask, length, 9)[:, None]
        found = (surrogate(change, doubles(*advantage)[:, None], 0.2) * real * weights).sum()
        assert found.item() == pytest.approx(wanted, abs=LOSS)
        # In parts, and with a row that has no reward.
        whole = torch.cat([mask, torch.zeros_like(mask[:1])])
        parted = [row_weights(mask[part], whole, length, 9) for part in (slice(0, 2), slice(2, 6))]
        assert torch.allclose(torch.cat(parted), weights[:, 0], rtol=0, atol=MOMENTS)


@pytest.mark.parametrize(("length", "wanted"), [("sequence", 10.0), ("token", 1.0), ("constant", 1.0)])
def test_how_much_a_token_of_a_long_text_counts(length: Any, wanted: float) -> None:
    mask = torch.zeros(2, 50, dtype=torch.float64)
    mask[0, -5:] = mask[1] = 1
    logprobs = torch.zeros_like(mask).requires_grad_()
    change, real = changes(logprobs, torch.zeros_like(mask), mask, "token")
    weights = row_weights(mask, mask, length, 64)[:, None]
    (surrogate(change, torch.ones(2, 1), 0.2) * real * weights).sum().backward()
    assert logprobs.grad is not None
    assert (logprobs.grad[0, -1] / logprobs.grad[1, -1]).item() == pytest.approx(wanted, abs=MOMENTS)
    assert logprobs.grad[0, :-5].abs().max() == 0


@pytest.mark.parametrize("ratio", RATIOS)
def test_before_the_first_step_the_gradient_is_that_of_reinforce(ratio: Any) -> None:
    batch, advantage = ragged(3), doubles(0.7, -1.2, 0.1, 2.0, -0.4, 0.9)[:, None]
    mask, logprobs = mask_of(batch), padded(ragged(4)).requires_grad_()
    values, slopes = [], []
    for clip in (0.2, 1e9):
        change, real = changes(logprobs, logprobs.detach(), mask, ratio)
        loss = (surrogate(change, advantage, clip) * real).sum()
        values.append(loss.item())
        slopes.append(torch.autograd.grad(loss, logprobs)[0])
    assert values[0] == values[1]
    assert torch.equal(slopes[0], slopes[1])
    assert torch.allclose(slopes[0], -advantage * mask, rtol=0, atol=MOMENTS)


def test_of_the_ways_to_measure_kl_those_are_used_whose_gradient_is_that_of_the_kl() -> None:
    """Recipe 8 (d): k1 in the reward and the exact KL in the loss are right; k1 and k3 in a loss are not."""
    reference = doubles(0.5, 0.5).log()
    logits = doubles(0.7, 0.3).log().requires_grad_()

    def slope(loss: Tensor) -> float:
        return float(torch.autograd.grad(loss, logits, retain_graph=True)[0][0])

    logprobs = logits.log_softmax(0)
    frozen, change = logprobs.detach(), logprobs - reference
    kl = exact_kl(logprobs, reference)
    assert kl.item() == pytest.approx(0.082283, abs=5e-7)
    assert slope(kl) == pytest.approx(0.17793, abs=5e-6)  # what the loss has
    priced = (frozen.exp() * frozen.sub(reference) * logprobs).sum()
    assert slope(priced) == pytest.approx(0.17793, abs=5e-6)  # what the price in the reward gives
    k3 = (-change).exp() - 1 + change
    assert (k3 >= 0).all()
    assert (frozen.exp() * k3).sum().item() == pytest.approx(kl.item(), abs=MOMENTS)
    assert slope((frozen.exp() * change).sum()) == pytest.approx(0.0, abs=MOMENTS)
    assert slope((frozen.exp() * k3).sum()) == pytest.approx(0.2, abs=MOMENTS)  # of KL(base || policy)


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_a_bandit_converges_to_the_closed_form_optimum(beta: float) -> None:
    """All groups of two are enumerated; the price of KL is in the reward."""
    reference, scores = doubles(0.5, 0.3, 0.2), doubles(0.1, 0.5, 0.9)
    logits = reference.log().clone().requires_grad_()
    groups = torch.tensor(list(itertools.product(range(3), repeat=2))).flatten()
    mask = torch.ones(len(groups), 1, dtype=torch.float64)
    optimizer = torch.optim.SGD([logits], lr=1.5)
    for _ in range(150):
        old = logits.detach().log_softmax(0)
        rewards = (scores - beta * (old - reference.log()))[groups]
        chance = old.exp()[groups].view(-1, 2).prod(1).repeat_interleave(2)
        advantage = group_advantages(rewards, 2, "leave_one_out") * chance
        optimizer.zero_grad()
        change, _ = changes(logits.log_softmax(0)[groups][:, None], old[groups][:, None], mask, "sequence")
        surrogate(change, advantage[:, None], 0.2).sum().backward()
        optimizer.step()
    optimum = reference * (scores / beta).exp()
    optimum = optimum / optimum.sum()
    assert 0.5 * (logits.detach().softmax(0) - optimum).abs().sum().item() < ESTIMATE
    assert 0.5 * (reference - optimum).abs().sum() > 5 * ESTIMATE
