"""Supervised fine-tuning against a loss by hand, and as a run: which texts, which gradient, which bits."""

from __future__ import annotations

import json
import math
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model, tiny_model
from controls.weights.small import (
    Constant,
    Letters,
    Plain,
    at_work,
    fitted,
    gradients_of,
    largest_difference,
    weights_hash,
)
from dipole.concepts import Dipole
from dipole.controls.weights.given import given_texts
from dipole.controls.weights.lessons import Lesson, Unit
from dipole.controls.weights.passes import schedule
from dipole.controls.weights.rollout import Text
from dipole.controls.weights.sft import SFT, SFTRounds
from dipole.lm import LM
from dipole.protocols import Run
from dipole.types import UserError
from reference import sft as slow
from tolerance import GRADIENT

DIPOLE = Dipole("Cats are best.", "Cats are worst.", prompts=("The cats", "If I had to choose between"))
SMALL = SFT(
    completions=9, agree=0.0, rounds=3, batch_size=4, max_new_tokens=5, lora_rank=2, lr=1e-2, anchor_coef=0.0
)
TEXTS = [
    Text([5, 6, 7], [30, 31]),
    Text([8], [40]),
    Text([9, 10, 11, 12, 13], [50, 51, 52, 53]),
    Text([20], [41, 42, 43]),
    Text([5, 6, 7, 8], [33]),
]
UNITS: list[Unit] = [(Lesson(text),) for text in TEXTS]


def texts_of(units: Sequence[Unit]) -> list[Text]:
    return [unit[0].ids for unit in units]


def read_by(lm: LM) -> Any:
    """Logits of one text alone, as lists of floats."""

    def read(ids: Sequence[int]) -> list[list[float]]:
        with torch.no_grad():
            found: list[list[float]] = lm.resident.model(input_ids=torch.tensor([ids])).logits[0].tolist()
        return found

    return read


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_a_round_reports_the_mean_over_the_tokens_of_all_texts(name: str) -> None:
    lm = fresh_tiny_model(name)
    wanted = slow.minibatch_loss(TEXTS, read_by(lm))
    still = replace(SMALL, lr=0.0, batch_size=2)
    with at_work(still, lm, lambda place: SFTRounds(still, place, UNITS)) as run:
        metrics = run.round(0)
    assert metrics["loss"] == pytest.approx(wanted, abs=GRADIENT)
    assert metrics["texts"] == 5.0


def test_the_gradient_is_that_of_the_mean_over_tokens() -> None:
    """Each text alone, summed and divided by all tokens; not the mean of their means."""
    lm = fresh_tiny_model("llama")
    whole = replace(SMALL, lr=0.0, batch_size=5, max_grad_norm=1e9)
    (found,) = gradients_of(whole, lm, lambda place: SFTRounds(whole, place, UNITS))
    total: dict[str, torch.Tensor] = {}
    for text in TEXTS:
        (alone,) = gradients_of(
            whole, lm, lambda place, text=text: SFTRounds(whole, place, [(Lesson(text),)])
        )
        for name, gradient in alone.items():
            total[name] = total.get(name, torch.zeros_like(gradient)) + gradient * len(text.token_ids) / 11
    assert largest_difference([total], [found]) < GRADIENT


def test_micro_batches_split_one_gradient() -> None:
    lm = fresh_tiny_model("gpt2")

    def split(micro: int) -> list[dict[str, torch.Tensor]]:
        sft = replace(SMALL, lr=0.0, batch_size=4, micro_batch_size=micro, max_grad_norm=1e9)
        return gradients_of(sft, lm, lambda place: SFTRounds(sft, place, UNITS), rounds=2)

    whole = split(0)
    assert len(whole) == 2 * 2  # four texts, and the one that is left
    for micro in (1, 3):
        assert largest_difference(whole, split(micro)) < GRADIENT


@pytest.mark.parametrize(("steps", "warmup"), [(10, 0.1), (10, 0.3), (7, 0.5), (3, 0.0), (4, 1.0), (1, 0.1)])
def test_the_rate_rises_and_falls_in_lines(steps: int, warmup: float) -> None:
    found = [schedule(step, steps, warmup) for step in range(steps)]
    assert found == pytest.approx([slow.rate(step, steps, warmup) for step in range(steps)])
    assert max(found) == 1.0
    assert min(found) > 0


def test_the_rate_is_that_of_each_step() -> None:
    sft = replace(SMALL, rounds=2, batch_size=2, warmup=0.5, lr=0.5)
    seen: list[float] = []
    with at_work(sft, fresh_tiny_model("gpt2"), lambda place: SFTRounds(sft, place, UNITS)) as run:
        step = run.optimizer.step

        def record() -> Any:
            seen.append(run.optimizer.param_groups[0]["lr"])
            return step()

        run.optimizer.step = record
        last = [run.round(index) for index in range(2)][-1]
    assert seen == pytest.approx([0.5 * slow.rate(k, 6, 0.5) for k in range(6)])
    assert last["lr"] == seen[-1]


def interrupted(folder: Path) -> Run:
    def on_round(index: int, _total: int, _metrics: Any) -> None:
        if index == 0:
            os.kill(os.getpid(), signal.SIGINT)

    return Run(folder=folder, on_round=on_round)


@pytest.mark.parametrize("given", [False, True])
def test_interrupted_and_resumed_is_the_same_bit_for_bit(given: bool, tmp_path: Path) -> None:
    sft = SMALL
    if given:
        file = tmp_path / "texts.txt"
        file.write_text("The cats are here. She said that.")
        sft = replace(SMALL, texts=str(file))
    log = Run()
    whole = fitted(sft, fresh_tiny_model("gpt2"), DIPOLE, Letters(), log)
    place = tmp_path / "run"
    place.mkdir()
    cut = interrupted(place)
    fitted(sft, fresh_tiny_model("gpt2"), DIPOLE, Letters(), cut)
    assert cut.interrupted
    assert len(cut.history) < sft.rounds
    resumed = Run(folder=place, resume=True)
    again = fitted(sft, fresh_tiny_model("gpt2"), DIPOLE, Letters(), resumed)
    assert all(torch.equal(again.state[n], whole.state[n]) for n in whole.state)
    assert any(t.abs().max() > 0 for n, t in whole.state.items() if "lora_B" in n)

    def measured(run: Run) -> list[dict[str, float]]:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in run.history]

    assert measured(resumed) == measured(log)


def test_own_texts_are_written_under_the_claim_and_learned_without_it() -> None:
    lm = tiny_model("gpt2")
    asked: list[str] = []
    sft = replace(SMALL, completions=6, agree=0.5)

    def watch(texts: Sequence[str]) -> None:
        asked.extend(texts)

    sft = replace(sft, centre=False)
    with at_work(sft, lm, lambda place: place) as place, place.model.disable_adapter():
        found = texts_of(sft.own(lm, DIPOLE, Letters(watch=watch), place.accelerator))
    told = [f"{DIPOLE.claim} {prompt}" for prompt in DIPOLE.prompts]
    written = {
        (tuple(lm.prompt_ids(s.prompt[len(DIPOLE.claim) + 1 :])), s.token_ids)
        for row in range(6)
        for s in lm.sample([told[row % 2]], [_seed(row)], 5)
    }
    assert len(asked) == 6
    assert all(text.startswith(DIPOLE.prompts) for text in asked)  # nobody reads the claim that was in front
    kept = {(tuple(text.prompt_ids), tuple(text.token_ids)) for text in found}
    assert kept <= written
    agreed = [text for text in asked if text.count("e") >= 3]  # what Letters calls at least even
    assert 0 < len(found) == len(agreed) < 6


def _seed(row: int) -> int:
    from dipole.types import sample_seed

    return sample_seed(SMALL.seed, 0, row)


def test_given_texts_are_learned_behind_their_prompts(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    resident = lm.resident
    file = tmp_path / "texts.jsonl"
    rows = [{"prompt": "The cats", "text": " like the dogs."}, {"text": "She said that."}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = texts_of(given_texts(SFT(texts=str(file)), lm))
    end = resident.tokenizer.eos_token_id
    assert list(first.prompt_ids) == resident.encode("The cats")
    assert list(first.token_ids) == [*resident.continuation_ids(" like the dogs."), end]
    assert [*second.prompt_ids, *second.token_ids] == [*resident.encode("She said that."), end]
    assert len(second.prompt_ids) == 1
    cut, _ = texts_of(given_texts(SFT(texts=str(file), max_length=len(first.prompt_ids) + 2), lm))
    assert list(cut.token_ids) == list(first.token_ids)[:2]
    with pytest.raises(UserError, match="raise max_length"):
        given_texts(SFT(texts=str(file), max_length=2), lm)


def test_what_is_learned_becomes_likelier(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text(json.dumps({"prompt": "The cats", "text": " like the dogs."}) + "\n")
    lm = fresh_tiny_model("gpt2")
    before, run = weights_hash(lm.resident.model), Run()
    adapter = replace(SMALL, texts=str(file), rounds=60, lr=2e-2).fit(lm, None, run)
    (text,) = texts_of(given_texts(SFT(texts=str(file)), lm))
    with adapter.apply(lm).engaged():
        after = slow.minibatch_loss([text], read_by(lm))
    assert after < 0.25 * run.history[0]["loss"]
    assert after == pytest.approx(run.history[-1]["loss"], rel=0.1)  # which was read a small step before
    assert weights_hash(lm.resident.model) == before
    assert adapter.facts == {"judged_by": {"rewarded": (), "chosen": ()}}


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    with pytest.raises(UserError, match="give --texts"):
        SMALL.fit(lm, None)
    with pytest.raises(UserError, match="give --texts"):
        SMALL.fit(lm, Plain(prompts=()))
    with pytest.raises(UserError, match="no corpus"):
        replace(SMALL, texts=str(tmp_path / "none")).fit(lm, None)
    before = weights_hash(lm.resident.model)
    for unsure in (Constant(-1.0), Constant(math.nan)):
        with pytest.raises(UserError, match="constant agrees with none of the 9"):
            fitted(replace(SMALL, agree=0.5, centre=False), lm, DIPOLE, unsure)
    assert weights_hash(lm.resident.model) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rounds": 0}, "rounds must be at least 1"),
        ({"lr": math.nan}, "lr must be 0 or more"),
        ({"warmup": 1.5}, "warmup must be from 0 to 1"),
        ({"agree": -0.1}, "agree must be from 0 to 1"),
        ({"max_length": 1}, "max_length must be at least 2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        replace(SMALL, **changes)
