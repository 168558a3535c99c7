"""Six objectives of scored texts by hand; tags that are read, never learned and never written."""

from __future__ import annotations

import json
import math
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from architectures import fresh_tiny_model, tiny_model
from contracts.recipes import random_adapter
from controls.weights.small import Constant, Letters, at_work, fitted
from dipole.concepts import Dipole
from dipole.controls.weights.conditional import Conditional, ConditionalRounds, Objective
from dipole.controls.weights.objectives import (
    MOST_WEIGHT,
    awr_loss,
    awr_weights,
    bounded_value,
    rwr_weights,
    unlikelihood_loss,
)
from dipole.controls.weights.scored import Scored, Segment, Written, encoded, pieces, probabilities
from dipole.controls.weights.tags import choose_tags, tagged
from dipole.corpora.passages import sentences
from dipole.interventions import load_intervention
from dipole.lm import LM
from dipole.protocols import Run
from dipole.types import UserError
from tolerance import FLOAT32_SUM, GRADIENT

DIPOLE = Dipole("Cats are best.", "Cats are worst.", prompts=("The cats", "If I had to choose between"))
SMALL = Conditional(
    completions=12, unprompted=0.25, rounds=2, batch_size=4, max_new_tokens=5, lora_rank=2, lr=1e-2, drop=0.0
)
TEXTS = [
    Scored([5, 6, 7], [Segment([30, 31], 0.9), Segment([32, 33, 34], 0.2)]),
    Scored([8], [Segment([40], 0.1)]),
    Scored([9, 10, 11, 12], [Segment([50, 51], math.nan), Segment([52], 0.5)]),
]
NLL = torch.tensor([0.1, 2.0, 5.0])


def test_unlikelihood_of_good_tokens_is_their_likelihood() -> None:
    good = torch.zeros(3, dtype=torch.bool)
    for alpha in (0.0, 1.0, 7.0):
        assert torch.equal(unlikelihood_loss(NLL, good, alpha), NLL)


def test_the_gradient_of_unlikelihood_is_alpha_p_at_the_token_s_own_logit() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64, requires_grad=True)
    p = logits.detach().softmax(0)
    for bad, wanted in ((True, 0.7 * p[2]), (False, p[2] - 1)):
        nll = -logits.log_softmax(0)[2:]
        (found,) = torch.autograd.grad(unlikelihood_loss(nll, torch.tensor([bad]), 0.7).sum(), logits)
        assert found[2].item() == pytest.approx(wanted.item(), rel=1e-9)


def test_unlikelihood_of_a_sure_token_is_finite() -> None:
    sure = unlikelihood_loss(torch.tensor([0.0]), torch.tensor([True]), 1.0)
    assert sure.item() == pytest.approx(20 * math.log(10), rel=1e-6)


def test_rwr_weights_have_the_mean_one_and_the_right_proportions() -> None:
    rewards = torch.tensor([0.0, -0.5, -1.0], dtype=torch.float64)
    weights = rwr_weights(rewards, 0.25)
    assert weights.mean().item() == pytest.approx(1)
    assert (weights[0] / weights[2]).item() == pytest.approx(math.exp(4))
    assert rwr_weights(torch.full((4,), -0.3), 0.25).tolist() == pytest.approx([1.0] * 4)  # which is MLE


def test_awr_is_what_its_formula_says_and_its_weights_have_an_end() -> None:
    rewards, values = torch.tensor([-0.2, -1.0, 0.0]), torch.tensor([-0.5, -0.5, -0.25])
    wanted = [
        0.3 * math.exp((r - v) / 0.5) * n + 0.7 * (r - v) ** 2
        for r, v, n in zip(rewards.tolist(), values.tolist(), NLL.tolist(), strict=True)
    ]
    assert awr_loss(NLL, rewards, values, 0.3, 0.5).tolist() == pytest.approx(wanted, rel=1e-5)
    far = awr_weights(torch.tensor([0.0]), torch.tensor([-1.0]), 0.01)
    assert far.item() == pytest.approx(MOST_WEIGHT, rel=1e-5)
    assert bounded_value(torch.zeros(1)).item() == -0.5


@pytest.mark.parametrize(("alpha", "moves"), [(1.0, False), (0.5, True)])
def test_at_alpha_one_the_value_head_gets_no_gradient(alpha: float, moves: bool) -> None:
    values = torch.full((3,), -0.5, requires_grad=True)
    loss = awr_loss(NLL, torch.tensor([-0.2, -1.0, 0.0]), values, alpha, 0.5).sum()
    (found,) = torch.autograd.grad(loss, values)
    assert bool(found.abs().max() > 0) is moves


def test_tags_match_the_scores_and_without_them_the_stream_is_as_it_was() -> None:
    rng = random.Random(3)
    chances = [rng.choice([0.0, 0.3, 0.7, 1.0]) for _ in range(100_000)]
    texts = [Scored([1], [Segment([9], chance) for chance in chances])]
    (found,) = tagged(texts, 0.5, (7, 8), 0.1, seed=4)
    ids = list(found.text.token_ids)
    assert [token for token in ids if token == 9] == [9] * 100_000
    seen: list[int] = []
    for before, token in zip([0, *ids], ids, strict=False):
        if token == 9:
            seen.append(before if before in (7, 8) else 0)
    assert {(tag, chance >= 0.5) for tag, chance in zip(seen, chances, strict=True) if tag} == {
        (7, True),
        (8, False),
    }
    untagged = seen.count(0) / len(seen)
    assert abs(untagged - 0.1) < 3 * math.sqrt(0.1 * 0.9 / 100_000)
    assert [token for token, learned in zip(ids, found.learned, strict=True) if learned] == [9] * 100_000


def test_zero_and_one_are_thresholds_and_what_nobody_could_judge_has_no_tag() -> None:
    for threshold, wanted in ((0.0, [7, 9, 7, 9, 9]), (1.0, [8, 9, 7, 9, 9]), (0.5, [8, 9, 7, 9, 9])):
        segments = [Segment([9], 0.0), Segment([9], 1.0), Segment([9], math.nan)]
        (found,) = tagged([Scored([1], segments)], threshold, (7, 8), 0.0, seed=0)
        assert list(found.text.token_ids) == wanted


def test_sentences_joined_are_the_text() -> None:
    text = " staples. They bend!  Dr. Low said so…\n\nWhy? Yes.  "
    assert sentences(text) == [" staples.", " They bend!", "  Dr. Low said so…", "\n\nWhy?", " Yes.  "]
    assert "".join(sentences(text)) == text
    assert pieces(text, "text") == [text]


def test_a_sentence_is_judged_with_all_before_it_and_less_its_prompt() -> None:
    read: list[str] = []
    text = [Written("The cats", " are here. See me.", "\n")]
    letters = Letters(watch=read.extend)
    found = probabilities(text, "sentence", letters, DIPOLE, centre=True)
    assert read == ["The cats", "The cats\n are here.", "The cats\n are here. See me."]
    assert found[0] == pytest.approx([1 / (1 + math.exp(-3)), 1 / (1 + math.exp(-6))])


def test_a_text_is_cut_at_its_length_and_ends_where_it_ended() -> None:
    lm = tiny_model("gpt2")
    ids, end = lm.resident.continuation_ids, lm.resident.tokenizer.eos_token_id
    texts = [Written("The cats", " like. The dogs."), Written("The cats", " like.", ended=False)]
    whole, cut = encoded(lm, texts, [[0.1, 0.2], [0.3]], "sentence", 60)
    assert [s.token_ids for s in whole.segments] == [ids(" like."), [*ids(" The dogs."), end]]
    assert [s.token_ids for s in cut.segments] == [ids(" like.")]
    room = len(whole.prompt_ids) + 2
    short, _ = encoded(lm, texts, [[0.1, 0.2], [0.3]], "sentence", room)
    left = [token for s in short.segments for token in s.token_ids]
    assert left == [*ids(" like."), *ids(" The dogs.")][:2]
    with pytest.raises(UserError, match="raise max_length"):
        encoded(lm, texts, [[0.1, 0.2], [0.3]], "sentence", len(whole.prompt_ids))


def _logprob(lm: LM, ids: Sequence[int], at: int) -> float:
    """Of the token at a place, given all before it, one text alone."""
    with torch.no_grad():
        logits = lm.resident.model(input_ids=torch.tensor([ids[:at]])).logits[0, -1]
    return float(logits.double().log_softmax(0)[ids[at]])


def _by_hand(objective: str, lm: LM, tags: tuple[int, int] | None) -> float:
    """Mean loss of TEXTS at the base, token by token; the value head says -1/2."""
    total, count, weights = 0.0, 0, []
    for text in [TEXTS[0], TEXTS[2], TEXTS[0]] if objective == "filter" else TEXTS:
        ids = list(text.prompt_ids)
        for segment in text.segments:
            chance = segment.probability
            if tags and not math.isnan(chance):
                ids.append(tags[0 if chance >= 0.5 else 1])
            reward = 0.0 if math.isnan(chance) else chance - 1
            for token in segment.token_ids:
                ids.append(token)
                logp = _logprob(lm, ids, len(ids) - 1)
                loss = -logp
                if objective == "unlikelihood" and chance < 0.5:
                    loss = -math.log(1 - math.exp(logp))
                if objective == "rwr":
                    weights.append(math.exp(reward / 0.25))
                    loss *= weights[-1]
                if objective == "awr":
                    loss = 0.5 * math.exp((reward + 0.5) / 0.25) * loss + 0.5 * (reward + 0.5) ** 2
                total, count = total + loss, count + 1
    return total / (sum(weights) if weights else count)


@pytest.mark.parametrize("objective", ["mle", "conditional", "filter", "unlikelihood", "rwr", "awr"])
def test_a_round_reports_the_loss_by_hand(objective: Objective) -> None:
    lm = fresh_tiny_model("llama")
    control = replace(SMALL, objective=objective, lr=0.0, batch_size=2)
    with at_work(control, lm, lambda place: ConditionalRounds(control, TEXTS, place)) as rounds:
        found = rounds.round(0)
        assert (rounds.tags is not None) is (objective == "conditional")
        assert any("value_head" in name for name in rounds.parameters) is (objective == "awr")
        tags = rounds.tags
    assert found["loss"] == pytest.approx(_by_hand(objective, lm, tags), rel=FLOAT32_SUM, abs=GRADIENT)


def test_tags_are_control_tokens_that_nothing_uses_or_the_least_likely_ones() -> None:
    lm = tiny_model("gpt2")
    likely = torch.zeros(lm.resident.columns)
    likely[[60, 61, 62]] = -9.0
    found = choose_tags(lm, {60}, likely)
    assert not {60, *lm.resident.control_ids} & set(found)

    class Roomy:
        """The same with control tokens to spare."""

        control_ids = frozenset({0, 1, 2, 70, 71})

        def __getattr__(self, name: str) -> Any:
            return getattr(lm.resident, name)

    class Plenty:
        resident = Roomy()

    spare: Any = Plenty()
    assert set(choose_tags(spare, set(), likely)) == {70, 71}
    assert not {70, 71} & set(choose_tags(spare, {70}, likely))


def test_the_modes_of_an_adapter_with_tags_and_that_no_tag_is_ever_written(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    plain = random_adapter(lm)
    made = replace(plain, tags=(60, 61))
    good, bad = made.apply(lm), made.apply(lm, -0.5)
    assert good.prompt_ids("The cats") == [*lm.prompt_ids("The cats"), 60]
    assert bad.prompt_ids("The cats") == [*lm.prompt_ids("The cats"), 61]
    assert made.apply(lm, 0.0).prompt_ids("The cats") == lm.prompt_ids("The cats")
    logits = good.response_logits(["The cats"], [[5, 6]])[0].softmax(-1)
    assert torch.equal(logits[:, [60, 61]], torch.zeros(2, 2))
    with plain.apply(lm).engaged() as model:
        ids = torch.tensor([[*lm.prompt_ids("The cats"), 60, 5, 6]])
        free = model(input_ids=ids).logits[0, -3:-1].softmax(-1)
    free[:, [60, 61]] = 0
    torch.testing.assert_close(logits, free / free.sum(-1, keepdim=True), atol=1e-5, rtol=0)
    made.save(tmp_path / "a")
    loaded: Any = load_intervention(tmp_path / "a")
    assert loaded.tags == (60, 61)
    for strength in (1.0, -0.5):
        again = loaded.apply(lm, strength).response_logits(["The cats"], [[5, 6]])[0]
        assert torch.equal(again, made.apply(lm, strength).response_logits(["The cats"], [[5, 6]])[0])
    drawn = good.generate(["The cats", ""], n=40, max_new_tokens=8)
    assert not {60, 61} & {token for sample in drawn for token in sample.token_ids}


def _interrupt(index: int, _total: int, _metrics: Any) -> None:
    if index == 0:
        os.kill(os.getpid(), signal.SIGINT)


def test_interrupted_and_resumed_is_the_same_bit_for_bit(tmp_path: Path) -> None:
    for objective in ("conditional", "awr"):
        control = replace(SMALL, objective=objective, rounds=3)
        whole = fitted(control, fresh_tiny_model("gpt2"), DIPOLE, Letters())
        place = tmp_path / objective
        place.mkdir()
        cut = Run(folder=place, on_round=_interrupt)
        fitted(control, fresh_tiny_model("gpt2"), DIPOLE, Letters(), cut)
        assert cut.interrupted
        again = fitted(control, fresh_tiny_model("gpt2"), DIPOLE, Letters(), Run(folder=place, resume=True))
        assert all(torch.equal(again.state[n], whole.state[n]) for n in whole.state)
        assert again.tags == whole.tags
        assert any(t.abs().max() > 0 for n, t in whole.state.items() if "lora_B" in n)


def test_given_texts_are_judged_and_learned(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"prompt": "The cats", "text": " see the deer here."}, {"text": "You all run. No."}]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = fitted(replace(SMALL, texts=str(file)), fresh_tiny_model("gpt2"), DIPOLE, Letters())
    assert made.facts["judged_by"]["rewarded"] == ("letters",)
    assert made.tags is not None


def test_what_cannot_be_told_apart_is_refused() -> None:
    lm = tiny_model("gpt2")
    for value, words in ((1.0, "calls all"), (-1.0, "calls none"), (math.nan, "calls nothing")):
        with pytest.raises(UserError, match=words):
            fitted(replace(SMALL, centre=False), lm, DIPOLE, Constant(value))
    with pytest.raises(UserError, match="give --texts"):
        SMALL.fit(lm, Dipole("Cats are best.", "Cats are worst."))
    with pytest.raises(UserError, match="objective must be one of"):
        Conditional(objective="best")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="beta must be above 0"):
        Conditional(beta=0.0)
