"""Learning from preferences: losses against floats by hand and closed optima, and as runs."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from architectures import fresh_tiny_model, tiny_model
from controls.weights.small import (
    Constant,
    Letters,
    at_work,
    fitted,
    gradients_of,
    largest_difference,
    weights_hash,
)
from dipole.concepts import Dipole
from dipole.controls.weights.dpo import DPO, DPORounds
from dipole.controls.weights.kto import KTO, KTORounds
from dipole.controls.weights.lessons import Lesson, Unit, best_of, paired
from dipole.controls.weights.preference_maths import balance, dpo_loss, ipo_loss, kto_loss
from dipole.controls.weights.rollout import Text
from dipole.controls.weights.sft import SFT, SFTRounds
from dipole.files import LESSONS
from dipole.lm import LM
from dipole.protocols import Run
from dipole.types import UserError
from reference import preferences as slow
from reference import sft as slow_sft
from tolerance import GRADIENT, LOSS

DIPOLE = Dipole("Cats are best.", "Cats are worst.", prompts=("The cats", "If I had to choose between"))
STILL: dict[str, Any] = {
    "lr": 0.0, "rounds": 1, "batch_size": 3, "lora_rank": 2, "max_new_tokens": 5, "anchor_coef": 0.0,
    "max_grad_norm": 1e9,
}  # fmt: skip
CHOSEN = [Text([5, 6, 7], [30, 31]), Text([8], [40]), Text([9, 10, 11], [50, 51, 52]), Text([8], [42])]
REJECTED = [Text([5, 6, 7], [33]), Text([8], [41, 42, 43]), Text([9, 10, 11], [60, 61]), Text([8], [44, 45])]
PAIRS: list[Unit] = [(Lesson(a), Lesson(b, False)) for a, b in zip(CHOSEN, REJECTED, strict=True)]
TEXTS: list[Unit] = [(lesson,) for pair in PAIRS for lesson in pair][:-1]


def likelihood(model: Any, text: Text) -> float:
    """Log-likelihood of a text behind its prompt, read alone."""
    ids = [*text.prompt_ids, *text.token_ids]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids])).logits[0].tolist()
    return -slow_sft.text_loss(logits, text.prompt_ids, text.token_ids)


def read_apart(run: Any, texts: list[Text]) -> tuple[list[float], list[float]]:
    """Of texts under the policy, and under the base."""
    policy = [likelihood(run._wrapped, text) for text in texts]
    with run._wrapped.disable_adapter():
        return policy, [likelihood(run._wrapped, text) for text in texts]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize(("loss", "wanted"), [(dpo_loss, slow.dpo), (ipo_loss, slow.ipo)])
def test_losses_of_pairs_are_those_of_the_papers(loss: Any, wanted: Any, smoothing: float) -> None:
    policy, base = [[-3.0, -9.5], [-20.0, -1.0], [-4.0, -4.0]], [[-4.0, -7.0], [-2.0, -2.5], [-4.0, -4.0]]
    ratios = torch.tensor(policy, dtype=torch.float64) - torch.tensor(base, dtype=torch.float64)
    found = loss(ratios[:, 0] - ratios[:, 1], 0.3, smoothing)
    assert found.tolist() == pytest.approx(
        [wanted(p, b, 0.3, smoothing) for p, b in zip(policy, base, strict=True)], rel=LOSS
    )


def test_golden_numbers_of_the_recipe() -> None:
    """At the base: ln 2 with the gradient -(beta / 2), whatever beta; 1 / (2 beta) squared; and a half."""
    margin = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for beta in (0.1, 0.7):
        (gradient,) = torch.autograd.grad(dpo_loss(margin, beta).sum(), margin)
        assert dpo_loss(margin, beta).item() == pytest.approx(0.693147, abs=LOSS)
        assert gradient.item() == pytest.approx(-beta / 2, rel=LOSS)
        assert ipo_loss(margin, beta).item() == pytest.approx(1 / (4 * beta**2), rel=LOSS)
        for sign in (1.0, -1.0):
            value = kto_loss(margin, torch.tensor([sign]), torch.zeros(()), beta)
            (gradient,) = torch.autograd.grad(value.sum(), margin)
            assert value.item() == pytest.approx(0.5, abs=LOSS)
            assert gradient.item() == pytest.approx(-sign * beta / 4, rel=LOSS)
    assert dpo_loss(torch.tensor(2.0), 0.3).item() == pytest.approx(dpo_loss(torch.tensor(6.0), 0.1).item())
    assert balance(1, 3) == (2.0, pytest.approx(2 / 3))


def solved(loss: Any, odds: dict[tuple[int, int], float], beta: float) -> Tensor:
    """Log-ratios of three answers after a tabular policy has learned from preferences of known odds."""
    base = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64).log()
    logits = base.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([logits], lr=0.5, max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        ratio = logits.log_softmax(0) - base
        total = sum(
            share * loss(ratio[a] - ratio[b], beta) + (1 - share) * loss(ratio[b] - ratio[a], beta)
            for (a, b), share in odds.items()
        )
        total.backward()
        return total

    optimizer.step(closure)
    return (logits.log_softmax(0) - base).detach()


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_the_optima_are_the_closed_ones(beta: float) -> None:
    """DPO finds the rewards of a Bradley-Terry judge; IPO a margin of (2 p - 1) / (2 beta) for a pair."""
    rewards = (0.0, 0.4, 1.0)
    odds = {(a, b): slow.sigmoid(rewards[a] - rewards[b]) for a in range(3) for b in range(a)}
    found = beta * solved(dpo_loss, odds, beta)
    for a in range(3):
        for b in range(a):
            assert float(found[a] - found[b]) == pytest.approx(rewards[a] - rewards[b], abs=1e-2)
    margin = solved(ipo_loss, {(0, 1): 0.8}, beta)
    assert float(margin[0] - margin[1]) == pytest.approx((2 * 0.8 - 1) / (2 * beta), abs=1e-2)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("loss", ["sigmoid", "ipo"])
def test_a_round_of_pairs_reports_what_each_pair_alone_gives(name: str, loss: Any) -> None:
    dpo = DPO(loss=loss, beta=0.3, smoothing=0.1, **STILL)
    with at_work(dpo, fresh_tiny_model(name), lambda place: DPORounds(dpo, place, PAIRS), spread=0.3) as run:
        found = run.round(0)
        (chosen, base), (rejected, other) = read_apart(run, CHOSEN), read_apart(run, REJECTED)
    of_pair = slow.dpo if loss == "sigmoid" else slow.ipo
    losses = [
        of_pair((p, q), (b, c), 0.3, 0.1) for p, q, b, c in zip(chosen, rejected, base, other, strict=True)
    ]
    ratios = [[p - b for p, b in zip(*side, strict=True)] for side in ((chosen, base), (rejected, other))]
    margins = [a - b for a, b in zip(*ratios, strict=True)]
    assert max(map(abs, margins)) > 0.01
    assert found["preference_loss"] == pytest.approx(sum(losses) / 4, rel=1e-4)
    assert found["chosen"] == pytest.approx(sum(ratios[0]) / 4, abs=1e-4)
    assert found["margin"] == pytest.approx(sum(margins) / 4, abs=1e-4)
    assert found["accuracy"] == sum(m > 0 for m in margins) / 4
    assert found["sft_loss"] == pytest.approx(-sum(chosen) / 7, abs=1e-4)


def test_at_the_base_a_pair_costs_ln_2_and_the_same_text_twice_moves_nothing() -> None:
    dpo = DPO(**STILL)
    with at_work(dpo, fresh_tiny_model("llama"), lambda place: DPORounds(dpo, place, PAIRS)) as run:
        found = run.round(0)
    assert found["preference_loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert found["margin"] == pytest.approx(0.0, abs=1e-4)
    same: list[Unit] = [(Lesson(text), Lesson(text, False)) for text in CHOSEN]

    def largest(units: list[Unit], **more: Any) -> float:
        control = replace(dpo, **more)
        found = gradients_of(control, fresh_tiny_model("llama"), lambda p: DPORounds(control, p, units))
        return max(float(t.abs().max()) for step in found for t in step.values())

    assert largest(same) < 1e-5 * largest(PAIRS)
    assert largest(same, sft_coef=1.0) > 0.1 * largest(PAIRS)


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_micro_batches_of_preferences_split_one_gradient(micro: int) -> None:
    def split(control: Any, rounds: Any, units: list[Unit]) -> list[dict[str, Tensor]]:
        return gradients_of(control, fresh_tiny_model("gpt2"), lambda p: rounds(control, p, units))

    for control, rounds, units in (
        (DPO(**STILL, sft_coef=0.5), DPORounds, PAIRS),
        (KTO(**STILL), KTORounds, TEXTS),
    ):
        whole = split(control, rounds, units)
        assert largest_difference(whole, split(replace(control, micro_batch_size=micro), rounds, units)) < (
            10 * GRADIENT
        )


def test_the_term_for_the_chosen_texts_is_that_of_sft() -> None:
    """Two gradients add up: that of the pairs, and half of that of sft on the chosen texts alone."""

    def gradient(control: Any, rounds: Any, units: list[Unit]) -> dict[str, Tensor]:
        (found,) = gradients_of(control, fresh_tiny_model("llama"), lambda p: rounds(control, p, units))
        return found

    still = {**STILL, "batch_size": 4}
    both = gradient(DPO(**still, sft_coef=0.5), DPORounds, PAIRS)
    pairs = gradient(DPO(**still), DPORounds, PAIRS)
    chosen = gradient(SFT(**still), SFTRounds, [(pair[0],) for pair in PAIRS])
    added = {name: pairs[name] + 0.5 * chosen[name] for name in pairs}
    assert largest_difference([both], [added]) < 10 * GRADIENT


def test_a_round_of_texts_reports_what_each_text_alone_gives() -> None:
    """Strangers, the point that they make, and both weights, by hand."""
    kto = KTO(beta=0.4, wanted_weight=1.5, **{**STILL, "batch_size": 7})
    lm = fresh_tiny_model("llama")
    with at_work(kto, lm, lambda place: KTORounds(kto, place, TEXTS), spread=0.4) as run:
        found = run.round(0)
        texts = [unit[0].ids for unit in run.units]
        strangers = [unit[1].ids for unit in run.units]
        ratios, odd = (
            [p - b for p, b in zip(*read_apart(run, some), strict=True)] for some in (texts, strangers)
        )
    assert texts == [unit[0].ids for unit in TEXTS]
    for own, other in zip(texts, strangers, strict=True):
        assert own.prompt_ids == other.prompt_ids
        assert any(t.token_ids == other.token_ids and t.prompt_ids != own.prompt_ids for t in texts)
    point = max(0.0, sum(odd) / 7)
    wanted = [unit[0].wanted for unit in TEXTS]
    assert found["point"] == pytest.approx(point, abs=1e-4)
    assert found["preference_loss"] == pytest.approx(
        slow.kto(ratios, wanted, odd, 0.4, (1.5 * 7 / 8, 7 / 6)), rel=1e-4
    )
    kept = [r for r, good in zip(ratios, wanted, strict=True) if good]
    assert found["wanted"] == pytest.approx(sum(kept) / len(kept), abs=1e-4)


def test_no_gradient_flows_through_the_point() -> None:
    point = torch.tensor(0.7, requires_grad=True)
    ratio = torch.tensor([0.2, 1.5], requires_grad=True)
    kto_loss(ratio, torch.tensor([1.0, -1.0]), point, 0.5).sum().backward()
    assert point.grad is None
    assert ratio.grad is not None
    assert ratio.grad[0] < 0 < ratio.grad[1]


def scored(prompt: str, score: float, token: int) -> Lesson:
    return Lesson(Text([1], [token]), True, prompt, f"text {token}", score)


def test_pairs_are_the_best_with_the_worst_behind_one_prompt() -> None:
    claim = [scored("a", 1.0, 10), scored("b", 0.2, 11), scored("a", 3.0, 12), scored("a", math.nan, 13)]
    against = [scored("a", 0.8, 20), scored("b", 0.0, 21), scored("a", -2.0, 22), scored("c", -9.0, 23)]
    tokens = [[one.ids.token_ids[0] for one in pair] for pair in paired(claim, against, 0.1)]
    assert tokens == [[12, 22], [10, 20], [11, 21]]
    assert [[one.wanted for one in pair] for pair in paired(claim, against, 0.5)] == [[True, False]]
    same = [scored("a", 1.0, 10)]
    assert paired(same, [scored("a", 0.0, 10)], 0.0) == []


def test_the_best_of_each_few_is_kept() -> None:
    drawn = [scored("ab"[k % 2], score, k) for k, score in enumerate([1, 5, 2, 4, 0, math.nan, 9])]
    assert [one.ids.token_ids[0] for one in best_of(drawn, 2)] == [2, 6, 1]
    assert [one.ids.token_ids[0] for one in best_of(drawn, 5)] == [6, 1]


def test_own_texts_become_likelier_on_one_side_and_the_base_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is broken off and resumed draws and reads nothing again, and ends as one that was not."""
    sizes = {**STILL, "lr": 2e-2, "rounds": 4, "anchor_coef": 1.0, "anchor_size": 2}
    for control in (DPO(completions=6, margin=0.0, **sizes), KTO(completions=6, margin=0.0, **sizes)):
        lm, log = fresh_tiny_model("gpt2"), Run()
        before = weights_hash(lm.resident.model)
        whole = fitted(control, lm, DIPOLE, Letters(), log)
        assert weights_hash(lm.resident.model) == before
        up, down = ("chosen", "rejected") if control.name == "dpo" else ("wanted", "unwanted")
        assert log.history[-1][up] > log.history[-1][down] + 0.5
        folder = tmp_path / control.name
        folder.mkdir()
        cut = replace(control, rounds=4)
        stop = Run(folder=folder, on_round=lambda index, *_: _interrupt() if index == 0 else None)
        fitted(cut, fresh_tiny_model("gpt2"), DIPOLE, Letters(), stop)
        assert stop.interrupted
        assert (folder / LESSONS).is_file()
        with monkeypatch.context() as patch:
            patch.setattr(control.passes, "_references", _never)
            patch.setattr(type(control), "own", _never)
            again = fitted(
                control, fresh_tiny_model("gpt2"), DIPOLE, Letters(), Run(folder=folder, resume=True)
            )
        assert all(torch.equal(again.state[name], whole.state[name]) for name in whole.state)


def _interrupt() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGINT)


def _never(*_: Any) -> Any:
    raise AssertionError("it was done already")


def test_kept_lessons_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    control = DPO(completions=6, margin=0.0, **STILL)
    fitted(control, fresh_tiny_model("gpt2"), DIPOLE, Letters(), Run(folder=tmp_path))
    whole = load_file(tmp_path / LESSONS)["ids"]
    for ids, words in ((whole[:-1], "do not add up"), (whole + 10**6, "token ids that the model does not")):
        tensors = {**load_file(tmp_path / LESSONS), "ids": ids.clone()}
        save_file(tensors, tmp_path / LESSONS, {"dipole": '{"identity": {}}'})
        with pytest.raises(UserError, match=words):
            fitted(control, fresh_tiny_model("gpt2"), DIPOLE, Letters(), Run(folder=tmp_path, resume=True))


def test_nothing_to_prefer_is_refused() -> None:
    lm: LM = tiny_model("gpt2")
    for control in (DPO(completions=4, **STILL), KTO(completions=4, **STILL)):
        with pytest.raises(UserError, match=r"no two .* are 0\.5 nats apart to constant"):
            fitted(control, lm, DIPOLE, Constant(0.0))
        with pytest.raises(UserError, match=r"give --(pairs|texts)"):
            control.fit(lm, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"smoothing": 0.5}, "smoothing must be from 0 to below 0.5"),
        ({"loss": "hinge"}, "loss must be one of sigmoid, ipo"),
        ({"margin": -1.0}, "margin must be 0 or more"),
    ],
)
def test_settings_of_dpo_that_mean_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        DPO(**changes)
