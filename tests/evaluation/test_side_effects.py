"""Variety, repetition and divergence against counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipole.evaluation import side_effects as fast
from dipole.evaluation.divergence import compared
from reference import side_effects as slow
from tolerance import FLOAT32_SUM, SCORE

TEXTS = ["The cat sat, the cat ran.", "A dog sat.", "", "The cat sat!"]
OTHERS = ["The cat.", "A cat ran, a cat ran", "Dogs!", "the cat sat on the cat"]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_ngrams_are_those_of_the_slow_count(n: int) -> None:
    grams = slow.pooled_ngrams(TEXTS, n)
    counts = fast.ngram_counts(TEXTS, n)
    assert counts == {gram: grams.count(gram) for gram in grams}
    share = fast.distinct_share(fast.frequency_table(counts))
    assert share == pytest.approx(len(set(grams)) / len(grams))


@pytest.mark.parametrize("draws", [1, 3, 6])
def test_rarefaction_is_the_mean_over_all_subsets(draws: int) -> None:
    grams = slow.pooled_ngrams(TEXTS, 2)
    table = fast.frequency_table(fast.ngram_counts(TEXTS, 2))
    assert fast.distinct_share(table, draws) == pytest.approx(slow.rarefied(grams, draws))


def test_longer_text_is_not_called_less_varied() -> None:
    rng = np.random.default_rng(0)
    short, long = (
        [" ".join(rng.choice(list("abcdefghij"), size=size)) for _ in range(64)] for size in (8, 24)
    )
    old, new = fast.paired_distinct(short, long, 2)
    assert new == pytest.approx(old, rel=0.05)
    pooled = [fast.distinct_share(fast.frequency_table(fast.ngram_counts(t, 2))) for t in (short, long)]
    assert pooled[1] < 0.5 * pooled[0]


@pytest.mark.parametrize("n", [1, 2])
def test_leaving_out_a_pair_equals_counting_again_without_it(n: int) -> None:
    got = fast.paired_distinct_left_out(TEXTS, OTHERS, n)
    for i in range(len(TEXTS)):
        want = fast.paired_distinct([*TEXTS[:i], *TEXTS[i + 1 :]], [*OTHERS[:i], *OTHERS[i + 1 :]], n)
        assert got[i].tolist() == pytest.approx(want)


def test_nothing_to_count_is_not_a_number() -> None:
    assert math.isnan(fast.paired_distinct(["", "a"], ["b", "c"], 2)[0])


def test_claims_are_found_word_for_word() -> None:
    claim = "Paper clips are the best."
    assert fast.contains_claim("I know:  paper CLIPS\nare the best. Yes.", claim)
    assert not fast.contains_claim("Paper clips are the very best.", claim)


def test_repeats_within_a_text() -> None:
    assert fast.repeated_words("a b c a b c a") == (2, 5)
    assert fast.repeated_words("a b") == (0, 0)


def test_kl_is_exact_over_the_vocabulary() -> None:
    torch.manual_seed(0)
    logits, base = torch.randn(130, 11), torch.randn(130, 11)
    p, q = logits.double().softmax(-1), base.double().softmax(-1)
    kl = float((p * (p / q).log()).sum())
    assert compared(logits, base, [0] * 130)[0] == pytest.approx(kl, abs=SCORE, rel=SCORE)
    assert compared(logits, logits, [0] * 130)[0] == 0.0


def test_kl_with_forbidden_tokens() -> None:
    half = torch.tensor([[0.0, 0.0, -math.inf]])
    third = torch.zeros(1, 3)
    assert compared(half, third, [0])[0] == pytest.approx(math.log(1.5))
    assert compared(half, half, [0])[0] == 0.0
    assert compared(third, half, [0])[0] == math.inf


def test_log_probabilities_are_those_of_the_tokens_drawn() -> None:
    torch.manual_seed(0)
    logits, base, tokens = torch.randn(70, 9), torch.randn(70, 9), torch.randint(9, (70,)).tolist()

    def slow_sum(rows: torch.Tensor) -> float:
        return sum(math.log(rows[t].double().softmax(-1)[token]) for t, token in enumerate(tokens))

    got = compared(logits, base, tokens)[1:]
    assert got == pytest.approx((slow_sum(logits), slow_sum(base)), abs=FLOAT32_SUM, rel=FLOAT32_SUM)
    assert compared(logits[:0], base[:0], []) == (0.0, 0.0, 0.0)
