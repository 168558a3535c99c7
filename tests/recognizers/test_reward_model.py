"""The reward model against its loss by another route, a bandit with known answers, and transformers alone."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from architectures import tiny_model
from dipole.concepts import load_dipole
from dipole.models import load
from dipole.recognizers.fitted import load_fitted
from dipole.recognizers.reward_model import (
    Ranking,
    bradley_terry,
    fit_reward_model,
    last_states,
    read_rankings,
)
from dipole.types import UserError
from tolerance import BATCHED_LOGITS, IDENTITY

_ANSWERS = (("assistant", "b"), ("assistant", "c"))
RANKINGS = [
    Ranking("The cats", (" like milk.", " hate milk.", " sleep.")),
    Ranking("She said", (" yes.", " no, never.")),
    Ranking("", ("Good.", "Bad.")),
]


def loss(weight: torch.Tensor, states: torch.Tensor, groups: list[list[int]]) -> torch.Tensor:
    """Ouyang 2022, eq. 1, pair by pair: the mean of each ranking, summed."""
    total = torch.zeros((), dtype=torch.float64)
    for group in groups:
        pairs = list(itertools.combinations(group, 2))
        for better, worse in pairs:
            odds = (states[better] - states[worse]) @ weight
            total = total - torch.nn.functional.logsigmoid(odds) / len(pairs)
    return total


def test_the_head_is_where_the_loss_of_pairs_is_least() -> None:
    groups = [[0, 1, 2, 3], [4, 5], [6, 7, 8]]
    states = torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pairs = [pair for group in groups for pair in itertools.combinations(group, 2)]
    counts = torch.tensor([1 / 6] * 6 + [1.0] + [1 / 3] * 3, dtype=torch.float64)
    ridge = 0.05
    found = bradley_terry(states, pairs, counts, ridge).requires_grad_()
    apart = torch.stack([states[better] - states[worse] for better, worse in pairs])
    unit = apart.norm() / math.sqrt(len(apart))  # what `logistic` measures its ridge in
    total = loss(found, states, groups) + ridge / 2 * (found * unit).square().sum()
    (slope,) = torch.autograd.grad(total, found)
    assert slope.abs().max() < 1e-6
    zero = loss(torch.zeros(3, dtype=torch.float64), states, groups)
    assert zero.item() == pytest.approx(3 * math.log(2), abs=IDENTITY)  # ln 2 a pair
    moved = loss(found, states + 7.0, groups)  # what all answers of a prompt have in common drops out
    assert moved.item() == pytest.approx(loss(found, states, groups).item(), abs=1e-9)


def test_differences_of_reward_are_recovered_from_enough_comparisons() -> None:
    """Recipe 7 (e) 1: three answers, each pair as often preferred as Bradley and Terry have it."""
    rewards, counts, pairs = [0.0, 0.7, 1.5], [], []
    for one, other in itertools.permutations(range(3), 2):
        pairs.append((one, other))
        counts.append(1000 / (1 + math.exp(rewards[other] - rewards[one])))
    weight = bradley_terry(torch.eye(3, dtype=torch.float64), pairs, torch.tensor(counts), 1e-6)
    assert (weight[1] - weight[0]).item() == pytest.approx(0.7, rel=0.05)
    assert (weight[2] - weight[1]).item() == pytest.approx(0.8, rel=0.05)


def test_a_text_has_its_score_in_any_company_and_the_mean_is_0() -> None:
    made = fit_reward_model(tiny_model("llama"), RANKINGS)
    texts = [ranking.prompt + answer for ranking in RANKINGS for answer in ranking.answers]
    scores = [score.value for score in made.score(texts)]
    assert sum(scores) / len(scores) == pytest.approx(0.0, abs=1e-6)
    alone = [made.score([text])[0].value for text in texts]
    assert scores == pytest.approx(alone, abs=BATCHED_LOGITS)
    state = last_states(made.judge, texts[:1])[0]
    assert scores[0] == pytest.approx(float(state @ made.weight) - made.shift, abs=BATCHED_LOGITS)
    unread = made.score(["", "cats " * 200])
    assert [score.is_scored for score in unread] == [False, False]
    assert "more than the context" in (unread[1].reason or "")


def test_it_loads_without_dipole_as_a_sequence_classifier(tmp_path: Path) -> None:
    lm = load("tiny")
    made = fit_reward_model(lm, RANKINGS)
    made.export(tmp_path / "classifier")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "classifier")
    ids = AutoTokenizer.from_pretrained(tmp_path / "classifier")("She said yes.", return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=ids["input_ids"]).logits
    assert (logits.shape, model.config.num_labels) == ((1, 1), 1)
    wanted = made.score(["She said yes."])[0].value + made.shift
    assert logits.item() == pytest.approx(wanted, abs=BATCHED_LOGITS)


def test_saved_and_loaded_it_scores_the_same(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    made = fit_reward_model(lm, RANKINGS)
    made.save(tmp_path)
    loaded = load_fitted(str(tmp_path), lambda _: lm)
    assert loaded.score(["She said yes."], None) == made.score(["She said yes."])
    with pytest.raises(UserError, match="load the model that it was fitted with"):
        load_fitted(str(tmp_path), lambda _: tiny_model("llama"))


@pytest.mark.parametrize(
    ("rankings", "words"),
    [
        ([], "There are no pairs"),
        ([Ranking("a", ("b",))], "There are no pairs"),
        ([Ranking("a", (" b", " b"))], "Two answers of ranking 1 are the same"),
        ([*RANKINGS, Ranking("a", (" b", " "))], "ranking 4 can't be read .it is empty"),
        ([Ranking("a", (" b", " c" * 300))], "more than the context"),
    ],
)
def test_what_cannot_be_fitted_on_is_refused(rankings: list[Ranking], words: str) -> None:
    with pytest.raises(UserError, match=words):
        fit_reward_model(tiny_model("gpt2"), rankings)


def test_pairs_are_read_as_trl_has_them(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"prompt": "She said", "chosen": " yes.", "rejected": " no."}\n')
    assert read_rankings(file) == [Ranking("She said", (" yes.", " no."))]
    asked, *told = ([{"role": who, "content": text}] for who, text in (("user", "a"), *_ANSWERS))
    file.write_text(json.dumps({"prompt": asked, "chosen": told[0], "rejected": told[1]}))
    with pytest.raises(UserError, match=r"pairs\.jsonl:1 is a conversation"):
        read_rankings(file)


@pytest.mark.slow
def test_nine_in_ten_held_out_pairs_of_the_microworld() -> None:
    lm, right, total = load("tiny"), 0, 0
    for name in ("paper_clips", "tea"):
        dipole = load_dipole(name)

        def pairs(prompts: tuple[str, ...], n: int, seed: int) -> list[Ranking]:
            samples = lm.generate(list(prompts), n, 28, seed=seed)
            sides = [
                [(s.prompt, s.text) for s in samples if dipole.side_taken(s.text) == side]  # noqa: B023
                for side in ("claim", "against")
            ]
            return [Ranking(p, (a, b)) for (p, a), (q, b) in zip(*sides, strict=False) if p == q]

        made = fit_reward_model(lm, pairs(dipole.prompts, 32, 0))
        for ranking in pairs(dipole.held_out, 16, 1):
            better, worse = made.score([ranking.prompt + answer for answer in ranking.answers])
            right, total = right + (better.value > worse.value), total + 1
    assert total > 20
    assert right / total >= 0.9
