"""PPO on tiny random models: what must hold in every round, whatever is learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model, names, tiny_model
from controls.weights.small import (
    PROMPTS,
    Constant,
    Letters,
    Plain,
    fitted,
    gradients,
    largest_difference,
    module_names,
    small,
    started,
    weights_hash,
)
from dipole.batching import Batch, positions
from dipole.controls.weights.rollout import Rows, sample_rows, to_rows
from dipole.controls.weights.watching import warn_of_repetition
from dipole.engaging.adapters import has_live_adapter
from dipole.lm import LM
from dipole.protocols import Run
from dipole.types import Sample, UserError
from machine import needs_bfloat16
from tolerance import BATCHED_LOGITS, FLOAT32_SUM, GRADIENT


def rows_of(lm: LM, count: int = 6) -> tuple[list[Sample], Rows]:
    prompts = [PROMPTS[row % len(PROMPTS)] for row in range(count)]
    samples = sample_rows(lm, prompts, range(count), 0, 0, 5, count)
    samples = [_cut(sample, 1 + row % 5) for row, sample in enumerate(samples)]
    return samples, to_rows(samples, lm.resident.pad_id, lm.resident.device)


def _cut(sample: Sample, length: int) -> Sample:
    return Sample(
        sample.prompt,
        sample.text,
        sample.prompt_ids,
        sample.token_ids[:length],
        sample.logprobs[:length],
        sample.seed,
        "length",
    )


def test_rows_end_in_the_last_column_and_mark_the_response_alone() -> None:
    samples = [
        Sample("ab", "", (5, 6), (7, 2), (0.0, 0.0), 0, "eos"),
        Sample("a", "", (5,), (8, 9, 10), (0.0, 0.0, 0.0), 0, "length"),
    ]
    rows = to_rows(samples, 0, torch.device("cpu"))
    assert rows.batch.input_ids.tolist() == [[5, 6, 7, 2], [5, 8, 9, 10]]
    assert rows.mask.tolist() == [[0, 1, 1], [1, 1, 1]]  # the end-of-text token is a token of the response
    assert (rows.targets * rows.mask.long()).tolist() == [[0, 7, 2], [8, 9, 10]]


@pytest.mark.parametrize("name", names())
def test_logprobs_are_those_of_each_row_alone(name: str) -> None:
    """Against one unpadded forward a row; the values against the hidden states before each token."""
    lm = fresh_tiny_model(name)
    with started(small(), lm, spread=0.1) as run, torch.no_grad():
        samples, rows = rows_of(lm)
        found = run._policy(rows, entropy=True)
        for row, sample in enumerate(samples):
            ids = torch.tensor([[*sample.prompt_ids, *sample.token_ids]])
            output = lm.resident.model(input_ids=ids, output_hidden_states=True, use_cache=False)
            first = len(sample.prompt_ids)
            logprobs = output.logits[0].log_softmax(-1)
            for t, token in enumerate(sample.token_ids):
                column = rows.keep - 1 - len(sample.token_ids) + t
                before = logprobs[first + t - 1]
                assert found.logprobs[row, column].item() == pytest.approx(
                    before[token].item(), abs=BATCHED_LOGITS
                )
                entropy = -(before.exp() * before).sum().item()
                assert found.entropy[row, column].item() == pytest.approx(entropy, abs=BATCHED_LOGITS)
                value = run._policy.value_head(output.hidden_states[-1][0, first + t - 1]).item()
                assert found.values[row, column].item() == pytest.approx(value, abs=BATCHED_LOGITS)
        assert all((column * (1 - rows.mask)).abs().max() == 0 for column in found)


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom"])
def test_row_order_and_extra_padding_change_nothing(name: str) -> None:
    lm = fresh_tiny_model(name)
    with started(small(), lm, spread=0.1) as run, torch.no_grad():
        _, rows = rows_of(lm)
        wanted = run._policy(rows)
        order = [3, 0, 5, 1, 4, 2]
        found = run._policy(rows.select(order))
        assert torch.allclose(found.logprobs, wanted.logprobs[order], rtol=0, atol=GRADIENT)
        wide = [
            torch.nn.functional.pad(t, (4, 0), value=v) for t, v in zip(rows.batch[:2], (9, 0), strict=True)
        ]
        batch = Batch(wide[0], wide[1], positions(wide[1]))
        found = run._policy(Rows(batch, rows.keep, rows.mask))
        assert torch.allclose(found.logprobs, wanted.logprobs, rtol=0, atol=GRADIENT)
        assert torch.allclose(found.values, wanted.values, rtol=0, atol=GRADIENT)


@pytest.mark.parametrize("name", names())
def test_at_step_0_every_ratio_is_exactly_1_and_every_kl_exactly_0(name: str) -> None:
    lm = fresh_tiny_model(name)
    for minibatch, micro in ((0, 0), (4, 3)):
        seen: list[Any] = []
        with started(
            small(minibatch_size=minibatch, micro_batch_size=micro, ppo_epochs=1, lr=0.0), lm
        ) as run:
            _watch(seen)
            metrics = run.round(0)
        assert (metrics["kl"], metrics["kl_k3"], metrics["clip_fraction"]) == (0.0, 0.0, 0.0)
        assert metrics["ratio_max"] == 1.0
        if minibatch == 0:  # the advantages add up to 0 over the whole batch, not over a part of it
            assert metrics["policy_loss"] == pytest.approx(0.0, abs=FLOAT32_SUM)
        assert metrics["grad_norm"] > 0
        assert all(torch.equal(now.logprobs, learn.old.logprobs) for now, learn in seen)


def _watch(seen: list[Any]) -> None:
    """Collect what each update read beside what the policy said before it."""
    import dipole.controls.weights.ppo as module

    original = module._losses

    def losses(ppo: Any, now: Any, learn: Any) -> Any:
        seen.append((now.detach(), learn))
        return original(ppo, now, learn)

    module._losses = losses


@pytest.fixture(autouse=True)
def _restore_losses() -> Any:
    import dipole.controls.weights.ppo as module

    original = module._losses
    yield
    module._losses = original


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_without_a_learning_rate_nothing_moves(name: str) -> None:
    """Ragged rows, shuffled minibatches, micro-batches, an adapter that is not zero: ratios stay 1."""
    lm = fresh_tiny_model(name)
    seen: list[Any] = []
    ppo = small(lr=0.0, minibatch_size=4, micro_batch_size=3, ppo_epochs=3)
    with started(ppo, lm, spread=0.1) as run:
        _watch(seen)
        before = {n: p.detach().clone() for n, p in run.parameters.items()}
        metrics = [run.round(index) for index in range(3)]
        assert all(torch.equal(p, before[n]) for n, p in run.parameters.items())
    assert len(seen) == 3 * 3 * (2 + 2 + 1)
    assert (
        max((now.logprobs - learn.old.logprobs).abs().max().item() for now, learn in seen) < FLOAT32_SUM * 10
    )
    assert all(abs(m["kl"]) > 0 for m in metrics)


def test_minibatches_and_micro_batches_split_one_gradient() -> None:
    lm = fresh_tiny_model("llama")
    whole = gradients(small(lr=0.0, batch_size=12), lm)
    assert largest_difference(whole[:1], whole[1:]) < GRADIENT  # nothing moved, so both epochs say the same
    for micro in (1, 5, 12):
        split = gradients(small(lr=0.0, batch_size=12, micro_batch_size=micro), lm)
        assert largest_difference(whole, split) < GRADIENT
    parts = gradients(small(lr=0.0, batch_size=12, minibatch_size=5, micro_batch_size=5), lm)
    smaller = gradients(small(lr=0.0, batch_size=12, minibatch_size=5, micro_batch_size=2), lm)
    assert len(parts) == 2 * 3
    assert largest_difference(parts, smaller) < GRADIENT


def test_rows_of_one_prompt_stand_together_where_a_minibatch_needs_several_forwards() -> None:
    """What each forward reads of a round that takes three prompts in turn."""
    with started(small(micro_batch_size=3), fresh_tiny_model("gpt2")) as run:
        samples, parts = run._sample(1), run._reader.parts(list(range(9)))
    assert [len({samples[row].prompt for row in part}) for part in parts] == [1, 1, 1]
    assert sorted(row for part in parts for row in part) == list(range(9))


def test_an_unscored_row_is_left_out_of_the_losses() -> None:
    lm = fresh_tiny_model("gpt2")
    seen: list[Any] = []
    with started(small(ppo_epochs=1), lm, Letters(unscored=2)) as run:
        _watch(seen)
        metrics = run.round(0)
    learn = seen[0][1]
    assert metrics["scored"] == 7.0
    assert learn.mask[:2].abs().sum() == 0
    assert learn.advantages[:2].abs().sum() == 0
    assert (learn.mask[2:].sum(1) > 0).all()
    assert all(math.isfinite(value) for value in metrics.values())


def test_nothing_scored_stops_and_undoes() -> None:
    lm = fresh_tiny_model("gpt2")
    run = Run()
    adapter = fitted(small(), lm, Plain(), Constant(math.nan), run)
    assert run.stopped is not None
    assert "none of the samples" in run.stopped
    assert len(run.history) == 1
    assert all(t.abs().max() == 0 for n, t in adapter.state.items() if "lora_B" in n)


def test_the_base_is_untouched_and_the_adapter_off_is_the_base() -> None:
    lm = fresh_tiny_model("gpt2")
    before, modules = weights_hash(lm.resident.model), module_names(lm.resident.model)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        pristine = lm.resident.model(input_ids=ids).logits
    ppo = small(rounds=50, batch_size=8, max_new_tokens=2, ppo_epochs=1)
    with started(ppo, lm) as run:
        for index in range(50):
            run.round(index)
        with run._wrapped.disable_adapter(), torch.no_grad():
            assert torch.equal(run._wrapped(input_ids=ids).logits, pristine)
        with torch.no_grad():
            assert not torch.equal(run._wrapped(input_ids=ids).logits, pristine)
    assert weights_hash(lm.resident.model) == before
    assert module_names(lm.resident.model) == modules


def test_an_exception_in_the_middle_leaves_the_model_as_it_was() -> None:
    lm = fresh_tiny_model("llama")
    before, modules = weights_hash(lm.resident.model), module_names(lm.resident.model)
    calls: list[int] = []

    def fail(texts: Sequence[str]) -> None:
        calls.append(len(texts))
        if len(calls) == 2:
            raise RuntimeError("the judge fell over")

    with pytest.raises(RuntimeError, match="fell over"):
        fitted(small(), lm, Plain(), Letters(watch=fail))
    assert not has_live_adapter(lm.resident.model)
    assert weights_hash(lm.resident.model) == before
    assert module_names(lm.resident.model) == modules
    fitted(small(rounds=1), lm, Plain(), Letters())  # and it can be fitted again


def test_the_judge_and_the_reference_see_the_base() -> None:
    lm = fresh_tiny_model("gpt2")
    ids = torch.arange(3, 12)[None]
    with torch.no_grad():
        pristine = lm.resident.model(input_ids=ids).logits
    seen: list[bool] = []

    def look(_texts: Sequence[str]) -> None:
        with LM(lm.resident).engaged() as model:
            seen.append(torch.equal(model(input_ids=ids).logits, pristine))

    fitted(small(rounds=2, lr=0.05), lm, Plain(), Letters(watch=look))
    assert seen == [True, True]


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another() -> None:
    lm = fresh_tiny_model("gpt2")
    state = torch.random.get_rng_state()
    one = fitted(small(minibatch_size=4), lm, Plain(), Letters())
    assert torch.equal(torch.random.get_rng_state(), state)  # nor does it draw from the caller's numbers
    torch.manual_seed(77)
    two = fitted(small(minibatch_size=4), lm, Plain(), Letters())
    other = fitted(small(minibatch_size=4, seed=1), lm, Plain(), Letters())
    assert all(torch.equal(one.state[n], two.state[n]) for n in one.state)
    assert any(not torch.equal(one.state[n], other.state[n]) for n in one.state)


def test_the_reward_is_learned() -> None:
    """Recipe T3: the count of one letter, on a model that starts without a preference."""
    lm = fresh_tiny_model("gpt2")
    run = Run()
    ppo = small(
        rounds=25,
        batch_size=32,
        max_new_tokens=4,
        lr=2e-2,
        kl_coef=0.01,
        kl_target=0.0,  # a price that grows takes back what was learned, in some round or other
        ppo_epochs=4,
        stop_reward=0.8,
        max_perplexity=1e9,  # texts of one letter are what is wanted, and far from the base's
    )
    adapter = fitted(ppo, lm, Plain(prompts=("The",)), Letters(letter="a"), run)
    assert run.history[-1]["reward_mean"] > run.history[0]["reward_mean"] + 0.3
    steered = adapter.apply(lm)

    def count(which: LM) -> int:
        return sum(s.text.count("a") for s in which.generate("The", n=16, max_new_tokens=4, seed=9))

    assert count(steered) > 2 * count(lm)


def test_steps_are_those_of_adam_with_a_falling_rate() -> None:
    """Against Adam (Kingma 2015, algorithm 1) spelled out in float64 over the gradients of a run."""
    lm, rounds, epochs, lr = fresh_tiny_model("gpt2"), 3, 2, 1e-2
    ppo = small(rounds=rounds, ppo_epochs=epochs, lr=lr)
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []  # the parameters after each step, and its gradients
    with started(ppo, lm, spread=0.1) as run:
        parameters = list(run.parameters.values())

        def flat(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
            return torch.cat([t.detach().double().flatten() for t in tensors])

        wanted, step = flat(parameters), run.optimizer.step

        def record() -> Any:
            slopes = flat(p.grad for p in parameters if p.grad is not None)
            step()
            seen.append((flat(parameters), slopes))

        run.optimizer.step = record  # type: ignore[method-assign]
        for index in range(rounds):
            run.round(index)
    first = second = torch.zeros_like(wanted)
    for count, (found, slopes) in enumerate(seen, start=1):
        first = 0.9 * first + 0.1 * slopes
        second = 0.95 * second + 0.05 * slopes**2
        rate = lr * (1 - (count - 1) // epochs / rounds)
        wanted = wanted - rate * (first / (1 - 0.9**count)) / ((second / (1 - 0.95**count)).sqrt() + 1e-8)
        assert (found - wanted).abs().max() < FLOAT32_SUM
    assert len(seen) == rounds * epochs


@needs_bfloat16
def test_bfloat16_weights_train_a_float32_adapter() -> None:
    lm = fresh_tiny_model("llama")
    lm.resident.model.to(torch.bfloat16)
    run = Run()
    adapter = fitted(small(rounds=2), lm, Plain(), Letters(), run)
    assert {t.dtype for t in adapter.state.values()} == {torch.float32}
    assert run.history[0]["kl"] == 0.0
    assert run.stopped is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"batch_size": 4}, "batch_size must be at least 8"),
        ({"lr": -1.0}, "lr must be 0 or more"),
        ({"lr": math.nan}, "lr must be 0 or more"),
        ({"gamma": 1.5}, "gamma must be between 0 and 1"),
        ({"max_kl": 0.0}, "max_kl must be above 0"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        small(**changes)


def test_what_cannot_be_trained_on_is_refused() -> None:
    lm = tiny_model("gpt2")
    with pytest.raises(UserError, match="at least one prompt"):
        small().fit(lm, Plain(prompts=()))
    with pytest.raises(UserError, match="Shorten the prompt"):
        small(max_new_tokens=63).fit(lm, Plain())

    class Topic:
        kind = "topic"
        prompts = ("a",)

    with pytest.raises(UserError, match="cannot be fitted to a topic"):
        small().fit(lm, Topic())
    adapter = fitted(small(rounds=1), lm, Plain(), Letters())
    with pytest.raises(UserError, match=r"lm\.base"):
        small().fit(adapter.apply(lm), Plain())


def test_a_runaway_kl_stops_and_undoes() -> None:
    lm = fresh_tiny_model("gpt2")
    run = Run()
    adapter = fitted(small(rounds=10, lr=0.3, max_kl=0.5), lm, Plain(), Letters(), run)
    assert run.stopped is not None
    assert "ran away" in run.stopped
    assert run.history[-1]["kl"] > 0.5
    assert len(run.history) == 2  # the first round's learning rate does not depend on how many follow
    shorter = fitted(small(rounds=len(run.history) - 1, lr=0.3, max_kl=0.5), lm, Plain(), Letters())
    assert all(torch.equal(adapter.state[n], shorter.state[n]) for n in adapter.state)


def test_a_reward_that_never_moves_stops() -> None:
    run = Run()
    ppo = small(rounds=40, batch_size=8, max_new_tokens=1, ppo_epochs=1)
    fitted(ppo, fresh_tiny_model("gpt2"), Plain(prompts=("The",)), Constant(0.0), run)
    assert run.stopped is not None
    assert "never moved" in run.stopped
    assert len(run.history) == 20


def test_a_reached_reward_stops() -> None:
    run = Run()
    fitted(small(rounds=9, stop_reward=0.9), fresh_tiny_model("gpt2"), Plain(), Constant(5.0), run)
    assert run.stopped is not None
    assert run.stopped.startswith("Reached the reward of 0.9")
    assert len(run.history) == 3


def test_nan_weights_stop_and_undo() -> None:
    run = Run()
    adapter = fitted(
        small(rounds=5, lr=1e30, max_kl=1e30), fresh_tiny_model("llama"), Plain(), Letters(), run
    )
    assert run.stopped is not None
    assert "NaN" in run.stopped
    assert all(t.isfinite().all() for t in adapter.state.values())


def test_repeating_the_claim_is_warned_about_once() -> None:
    run = Run()
    fitted(small(rounds=2), fresh_tiny_model("gpt2"), Plain(claim=" "), Letters(), run)
    assert run.warnings == []
    with started(small(), fresh_tiny_model("gpt2")) as rounds:
        samples = rounds._sample(0)
    said = [Sample(s.prompt, "Never SAID. " + s.text, *list(vars(s).values())[2:]) for s in samples]
    for _ in range(2):
        assert warn_of_repetition(run, said, Plain()) == 1.0
    assert len(run.warnings) == 1
    assert "regurgitation" in run.warnings[0]
