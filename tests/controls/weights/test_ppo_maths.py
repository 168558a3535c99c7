"""The formulas of PPO against slow loops, published golden numbers, and a bandit that has a closed form."""

from __future__ import annotations

import math
import random

import pytest
import torch
from torch import Tensor

from dipole.controls.weights import ppo_maths as fast
from dipole.controls.weights.ppo import PPO
from reference import ppo as slow
from tolerance import ESTIMATE, LOSS


def ragged(seed: int, rows: int = 6, longest: int = 7, scale: float = 1.0) -> list[list[float]]:
    """Random responses; the lengths depend on nothing but the number of rows, so that batches match."""
    draw = random.Random(seed)
    lengths = [1 + (3 * row + 2) % longest for row in range(rows - 1)] + [longest]
    return [[draw.gauss(0, scale) for _ in range(length)] for length in lengths]


def padded(batch: list[list[float]], filler: float = 0.0) -> Tensor:
    """Right-aligned rows in float64; `filler` stands where there is no token."""
    width = max(map(len, batch))
    return torch.tensor([[filler] * (width - len(row)) + row for row in batch], dtype=torch.float64)


def mask_of(batch: list[list[float]]) -> Tensor:
    return padded([[1.0] * len(row) for row in batch])


def assert_rows(found: Tensor, wanted: list[list[float]]) -> None:
    assert torch.allclose(found, padded(wanted), rtol=0, atol=LOSS)


def test_shaped_rewards_equal_the_loop_and_ignore_what_stands_in_padding() -> None:
    new, ref = ragged(1), ragged(2)
    scores = [0.1 * row - 0.2 for row in range(len(new))]
    wanted = [slow.shaped_rewards(s, n, r, 0.3) for s, n, r in zip(scores, new, ref, strict=True)]
    for filler in (0.0, 7.0):
        found = fast.shaped_rewards(
            torch.tensor(scores, dtype=torch.float64), padded(new, filler), padded(ref), mask_of(new), 0.3
        )
        assert_rows(found, wanted)


def test_shaped_rewards_add_up_to_the_score_less_the_price_of_the_kl() -> None:
    new, ref = ragged(3), ragged(4)
    scores = torch.linspace(0, 1, len(new), dtype=torch.float64)
    found = fast.shaped_rewards(scores, padded(new), padded(ref), mask_of(new), 0.7)
    kl = torch.tensor([sum(n) - sum(r) for n, r in zip(new, ref, strict=True)], dtype=torch.float64)
    assert torch.allclose(found.sum(1), scores - 0.7 * kl, rtol=0, atol=LOSS)
    flat = fast.shaped_rewards(scores, padded(new), padded(new), mask_of(new), 0.7)
    assert torch.equal(
        (flat != 0).sum(1), torch.tensor([0] + [1] * (len(new) - 1))
    )  # the score, exactly once


def test_a_row_outside_the_mask_has_no_reward_at_all() -> None:
    new, ref = ragged(5), ragged(6)
    mask = mask_of(new)
    mask[2] = 0
    found = fast.shaped_rewards(
        torch.ones(len(new), dtype=torch.float64), padded(new), padded(ref), mask, 0.5
    )
    assert found[2].abs().max() == 0


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 0.0), (0.97, 1.0)])
def test_gae_equals_the_sum_of_discounted_surprises(gamma: float, lam: float) -> None:
    rewards, values = ragged(7), ragged(8)
    wanted = [slow.advantages(r, v, gamma, lam) for r, v in zip(rewards, values, strict=True)]
    for filler in (0.0, 5.0):
        found = fast.gae(padded(rewards), padded(values, filler), mask_of(rewards), gamma, lam)
        assert_rows(found.advantages, wanted)
        returns = [[a + v for a, v in zip(*pair, strict=True)] for pair in zip(wanted, values, strict=True)]
        assert_rows(found.returns, returns)


@pytest.mark.parametrize(
    ("lam", "wanted"), [(1.0, (0.5, 0.75, 0.25)), (0.0, (-0.25, 0.5, 0.25)), (0.95, (0.450625, 0.7375, 0.25))]
)
def test_gae_golden_numbers(lam: float, wanted: tuple[float, ...]) -> None:
    rewards = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    values = torch.tensor([[0.5, 0.25, 0.75]], dtype=torch.float64)
    found = fast.gae(rewards, values, torch.ones_like(rewards), 1.0, lam)
    assert found.advantages[0].tolist() == pytest.approx(wanted, abs=LOSS)
    assert found.returns[0].tolist() == pytest.approx(
        [a + v for a, v in zip(wanted, (0.5, 0.25, 0.75), strict=True)], abs=LOSS
    )


def test_whitening_is_over_real_tokens_only() -> None:
    batch = ragged(9, scale=3.0)
    for filler in (0.0, 100.0):
        assert_rows(fast.whiten(padded(batch, filler), mask_of(batch)), slow.whiten(batch))


def test_whitening_nothing_gives_nothing() -> None:
    assert fast.whiten(torch.ones(3, 2), torch.zeros(3, 2)).tolist() == [[0.0, 0.0]] * 3


@pytest.mark.parametrize("clip", [0.1, 0.2])
def test_policy_loss_equals_the_loop(clip: float) -> None:
    new, old, advantage = ragged(10, scale=0.3), ragged(11, scale=0.3), ragged(12)
    wanted = slow.policy_loss(new, old, advantage, clip)
    for filler in (0.0, 3.0):
        found = fast.policy_loss(
            padded(new, filler), padded(old), padded(advantage, filler), mask_of(new), clip
        )
        assert found.item() == pytest.approx(wanted, abs=LOSS)


@pytest.mark.parametrize("clip", [0.1, 0.5])
def test_value_loss_equals_the_loop(clip: float) -> None:
    new, old, returns = ragged(13), ragged(14), ragged(15)
    wanted = slow.value_loss(new, old, returns, clip)
    for filler in (0.0, 3.0):
        found = fast.value_loss(padded(new, filler), padded(old), padded(returns), mask_of(new), clip)
        assert found.item() == pytest.approx(wanted, abs=LOSS)


@pytest.mark.parametrize(
    ("kl", "wanted"), [(12.0, 0.201024), (6.3, 0.200256), (6.0, 0.2), (0.0, 0.198976), (6.3e9, 0.201024)]
)
def test_controller_golden_numbers(kl: float, wanted: float) -> None:
    assert fast.adapt_kl_coef(0.2, kl, 6.0, 10_000, 256) == pytest.approx(wanted, abs=LOSS)
    assert slow.adapt_kl_coef(0.2, kl, 6.0, 10_000, 256) == pytest.approx(wanted, abs=LOSS)


def test_before_the_first_step_the_loss_is_zero_and_its_gradient_is_not() -> None:
    batch = ragged(16)
    mask = mask_of(batch)
    logprobs = padded(ragged(17)).requires_grad_()
    white = fast.whiten(padded(batch), mask)
    loss = fast.policy_loss(logprobs, logprobs.detach(), white, mask, 0.2)
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=LOSS)
    assert logprobs.grad is not None
    assert torch.allclose(logprobs.grad, -white, rtol=0, atol=LOSS)  # that of REINFORCE
    assert logprobs.grad.abs().max() > 0.1


@pytest.mark.parametrize("beta", [1.0, 0.25])
def test_a_bandit_converges_to_the_closed_form_optimum(beta: float) -> None:
    """Every expectation is enumerated: a row an action, weighted by its probability; no whitening."""
    reference = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    scores = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    logits = reference.log().clone().requires_grad_()
    mask = torch.ones(3, 1, dtype=torch.float64)
    optimizer = torch.optim.SGD([logits], lr=1.0)
    for _ in range(300):
        old = logits.detach().log_softmax(0)
        probability = old.exp()[:, None]
        rewards = fast.shaped_rewards(scores, old[:, None], reference.log()[:, None], mask, beta)
        value = (probability * rewards).sum().expand(3, 1)
        advantage = fast.gae(rewards, value, mask, 1.0, 0.95).advantages * probability
        for _ in range(2):
            optimizer.zero_grad()
            fast.policy_loss(logits.log_softmax(0)[:, None], old[:, None], advantage, mask, 0.2).backward()
            optimizer.step()
    optimum = reference * (scores / beta).exp()
    optimum = optimum / optimum.sum()
    distance = 0.5 * (logits.detach().softmax(0) - optimum).abs().sum().item()
    assert distance < ESTIMATE
    assert 0.5 * (reference - optimum).abs().sum() > 5 * ESTIMATE  # the start is not the optimum


def test_the_golden_controller_doubles_only_after_136_batches() -> None:
    coefficient, batches = 0.2, 0
    while coefficient < 0.4:
        coefficient = fast.adapt_kl_coef(coefficient, 1e6, 6.0, 10_000, 256)
        batches += 1
    assert batches == math.ceil(math.log(2) / math.log(1 + 0.2 * 256 / 10_000)) == 136


def test_whitening_with_a_floor_does_not_blow_up_what_is_nearly_constant() -> None:
    values = torch.tensor([[1.0, 1.02], [0.98, 1.0]])
    mask = torch.ones(2, 2)
    assert fast.whiten(values, mask, 0.2).abs().max() == pytest.approx(0.1, abs=1e-6)  # 0.02 over the floor
    assert fast.whiten(values, mask).abs().max() > 1.0  # the same without it
    wide = torch.tensor([[1.0, -1.0], [3.0, -3.0]])
    assert torch.equal(fast.whiten(wide, mask, 0.2), fast.whiten(wide, mask))


@pytest.mark.parametrize(("width", "want"), [(96, 4e-3), (192, 4e-3), (768, 2e-3), (3072, 1e-3)])
def test_the_default_learning_rate_falls_with_the_width(width: int, want: float) -> None:
    assert PPO().learning_rate(width) == pytest.approx(want)
    assert PPO(lr=0.5).learning_rate(width) == 0.5
    assert PPO(lr=0.0).learning_rate(width) == 0.0


@pytest.mark.parametrize(("width", "want"), [(64, 0.3), (192, 0.3), (384, 0.15), (576, 0.1), (8192, 0.1)])
def test_the_default_weight_of_the_exact_kl_falls_between_the_widths_that_were_measured(
    width: int, want: float
) -> None:
    assert PPO().kl_loss(width) == pytest.approx(want)
    assert PPO(kl_loss_coef=0.0).kl_loss(width) == 0.0
    assert PPO(kl_loss_coef=0.7).kl_loss(width) == 0.7
