"""How far the base is softened, when text has turned to noise, and what a prompt alone earns."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from architectures import fresh_tiny_model
from controls.weights.small import Constant, Letters, Plain, fitted, small, started
from dipole.controls.weights.holding import excess, mean_entropy, softening, stop_by_noise
from dipole.controls.weights.rollout import judge, priors
from dipole.controls.weights.step import rows_within
from dipole.protocols import Run
from dipole.types import Sample


def softened(logits: Tensor, temperature: float) -> Tensor:
    return (logits / temperature).log_softmax(-1)


def slow_entropy(logits: Tensor, temperature: float) -> float:
    total = 0.0
    for row in logits.double().tolist():
        weights = [math.exp(x / temperature) for x in row]
        total -= sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
    return total / len(logits)


def drawn(vocab: int) -> Tensor:
    return 4 * torch.randn(20, vocab, generator=torch.Generator().manual_seed(0))


def test_the_entropy_agrees_with_a_loop() -> None:
    assert mean_entropy(softened(drawn(30), 1.4)) == pytest.approx(slow_entropy(drawn(30), 1.4), abs=1e-4)


def test_the_base_is_softened_until_its_entropy_has_grown_by_the_bonus() -> None:
    logits = drawn(2000)
    found = softening(partial(softened, logits), 1.8, 0.5)
    assert 1.0 < found < 1.8
    assert slow_entropy(logits, found) - slow_entropy(logits, 1.0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("bonus", "wanted"), [(50.0, 1.8), (0.0, 1.0)])
def test_no_further_than_the_highest_temperature_and_not_at_all_without_a_bonus(
    bonus: float, wanted: float
) -> None:
    assert softening(partial(softened, drawn(30)), 1.8, bonus) == pytest.approx(wanted, abs=1e-3)


def history(*nats: float, tokens: float = 20.0) -> list[dict[str, float]]:
    return [{"base_nats": n, "tokens": tokens} for n in nats]


def test_the_excess_leaves_out_what_a_rare_side_may_cost() -> None:
    assert excess(history(3.0, 9.0, 3.75)) == pytest.approx(0.75 - 5.0 / 20.0)
    assert excess(history(3.0, 3.75, tokens=5.0)) == pytest.approx(0.75 - 1.0)


def test_text_that_the_base_would_not_write_stops() -> None:
    assert stop_by_noise(history(3.0, 3.25 + math.log(1.49)), 1.5) is None
    stop = stop_by_noise(history(3.0, 3.25 + math.log(1.51)), 1.5)
    assert stop is not None
    assert "noise" in stop.reason


def sample(prompt: str, text: str) -> Sample:
    return Sample(prompt, text, (1,), (2,), (0.0,), 0, "length")


def test_a_prompt_earns_nothing_by_itself() -> None:
    recognizer, prompts = Letters(), ("eeeee", "a")
    prior = priors(prompts, recognizer, Plain())
    assert prior == {"eeeee": 2.0, "a": -3.0}
    found = judge(
        [sample("eeeee", ""), sample("a", ""), sample("a", "ee")], recognizer, Plain(), Accelerator(), prior
    )
    assert found == pytest.approx([0.5, 0.5, 1 / (1 + math.exp(-2.0))])


def test_a_prompt_that_can_not_be_scored_is_left_as_it_is() -> None:
    assert priors(["x"], Constant(math.nan), Plain()) == {"x": 0.0}
    assert priors(["x"], Constant(math.inf), Plain()) == {"x": 0.0}


@pytest.mark.parametrize(("centre", "wanted"), [(True, 0.5), (False, 1 / (1 + math.exp(-3.0)))])
def test_the_reward_is_centred_by_the_prompt(centre: bool, wanted: float) -> None:
    run = Run()
    fitted(small(rounds=1, centre=centre), fresh_tiny_model("gpt2"), Plain(), Constant(3.0), run)
    assert run.history[0]["reward_mean"] == pytest.approx(wanted, abs=1e-6)


def test_the_price_of_kl_grows_within_a_run_and_falls_no_lower_than_it_began() -> None:
    lm, prices = fresh_tiny_model("gpt2"), {}
    for target in (1e-6, 1e6):
        run = Run()
        ppo = small(rounds=3, batch_size=16, lr=0.003, kl_coef=0.01, kl_target=target, kl_horizon=16.0)
        fitted(ppo, lm, Plain(), Letters(), run)
        prices[target] = [m["kl_coef"] for m in run.history]
    # Nothing has moved in the first round, so its KL is below any target.
    assert prices[1e-6] == pytest.approx([0.01, 0.01, 0.012], rel=1e-5)
    assert prices[1e6] == pytest.approx([0.01] * 3)


def test_the_floor_of_the_divisor_is_that_of_the_first_round() -> None:
    with started(small(lr=1e-2), fresh_tiny_model("gpt2")) as run:
        first = run.round(0)["reward_std"]
        assert run.numbers()["spread"] == first > 0
        run.round(1)
        assert run.numbers()["spread"] == first


def test_rows_a_forward_follow_from_the_model_and_the_budget() -> None:
    """Twenty numbers a layer, token and unit of width, by hand."""
    resident = fresh_tiny_model("gpt2").resident
    config = resident.model.config
    row = 20 * config.n_layer * config.n_embd * 4 * 30  # bytes, of 30 tokens in float32
    assert rows_within(resident, 30, budget=7 * row) == 7
    assert rows_within(resident, 30, budget=7 * row - 1) == 6
    assert rows_within(resident, 30, budget=1) == 1
    assert rows_within(resident, 30) == 384 * 2**20 // row


def test_a_run_that_turns_to_noise_stops_with_the_weights_before_it() -> None:
    """A rate far too high; whether the text is noise is asked of the base itself."""
    lm, run = fresh_tiny_model("gpt2"), Run()
    ppo = small(rounds=12, batch_size=16, max_new_tokens=24, lr=0.3, kl_coef=0.0, max_kl=1e9, kl_target=0.0)
    adapter = fitted(ppo, lm, Plain(prompts=("The",)), Letters("z"), run)
    assert run.stopped is not None
    assert "noise" in run.stopped
    assert len(run.history) < 12
    after = adapter.apply(lm)
    texts = after.generate("The", n=32, max_new_tokens=24, seed=5)
    nats = -sum(
        float(row.mean()) for row in lm.logprobs([t.prompt_ids for t in texts], [t.token_ids for t in texts])
    )
    noise = run.history[-1]["base_nats"]
    assert nats / len(texts) < noise


def test_without_the_guard_it_goes_on() -> None:
    lm, run = fresh_tiny_model("gpt2"), Run()
    ppo = small(
        rounds=4, batch_size=16, max_new_tokens=24, lr=0.3, kl_coef=0.0, max_kl=1e9, kl_target=0.0,
        max_perplexity=1e30,
    )  # fmt: skip
    fitted(ppo, lm, Plain(prompts=("The",)), Letters("z"), run)
    assert run.stopped is None
