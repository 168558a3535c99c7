"""The rule by which a strength is chosen, and what it is measured on."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from dipole.concepts import Dipole, load_dipole
from dipole.concepts.dipole import Mentions
from dipole.controls.selection import Trial, choose, judges_of, pick, scorer_of, select, split_prompts
from dipole.interventions.prompt import Prefix
from dipole.lm import LM
from dipole.recognizers.velma import Velma
from dipole.types import Sample, UserError, scored_text
from reference import generation as slow
from tolerance import SCORE


def trial(push: float, score: float, ratio: float) -> Trial:
    return Trial({}, push, score, ratio)


@pytest.mark.parametrize(
    ("trials", "want"),
    [
        ([(1, 0.5, 1.0), (2, 0.9, 1.1), (4, 0.99, 1.5)], 1),  # the best one is not fluent
        ([(1, 0.9, 1.0), (2, 0.915, 1.0), (4, 0.91, 1.0)], 0),  # nearly as good with less push
        ([(4, 0.9, 1.0), (1, 0.9, 1.0)], 1),
        ([(1, 0.9, 3.0), (2, 0.99, 2.0)], 1),  # none is fluent: the least broken one
        ([(1, math.nan, 1.0), (2, 0.4, 1.1)], 1),
        ([(1, 0.51, 1.2), (2, 0.9, 1.2000001)], 0),
    ],
)
def test_the_rule(trials: list[tuple[float, float, float]], want: int) -> None:
    assert pick([trial(*t) for t in trials], 1.2, 0.5) == want


def test_a_small_gain_is_not_rounded_to_doing_nothing() -> None:
    """A weak recognizer may move by less than 0.02 altogether."""
    assert pick([trial(1, 0.501, 1.0), trial(2, 0.509, 1.0), trial(4, 0.51, 1.0)], 1.2, 0.5) == 1
    assert pick([trial(1, 0.5, 1.0), trial(2, 0.5, 1.0)], 1.2, 0.5) == 0
    assert pick([trial(1, 0.5, 1.0), trial(2, 0.6, 1.0)], 1.2, math.nan) == 1


def test_prompts_are_split_in_pairs_and_without_overlap() -> None:
    dipole = load_dipole("paper_clips")
    fit, choose = split_prompts(dipole)
    assert not set(fit) & set(choose)
    assert sorted(fit + choose) == sorted(dipole.prompts)
    assert choose == tuple(p for i, p in enumerate(dipole.prompts) if i % 4 in (2, 3))
    few = Dipole("A is good.", "A is bad.", prompts=("x", "y", "z"))
    assert split_prompts(few) == (few.prompts, few.prompts)
    with pytest.raises(UserError, match="has no prompts"):
        split_prompts(Dipole("A is good.", "A is bad."))


def test_measurements_equal_those_made_by_hand(mini: LM) -> None:
    dipole = replace(load_dipole("cats"), mentions=Mentions())
    prompts = dipole.prompts[:2]
    told = Prefix(dipole.claim)
    found = select(mini, dipole, [({"a": 1}, 1.0, told.apply)], prompts, n=4, max_new_tokens=8, seed=2)

    def by_hand(lm: LM) -> tuple[float, float]:
        samples = lm.generate(prompts, 2, 8, seed=2)
        scores = Velma(mini).score([scored_text(s) for s in samples], dipole)
        nats = tokens = 0.0
        for s in samples:
            nats -= sum(slow.logprobs(mini.resident.model, mini.resident.encode(s.prompt), s.token_ids))
            tokens += len(s.token_ids)
        return sum(s.probability for s in scores) / 4, nats / tokens

    (base_score, base_loss), (score, loss) = by_hand(mini), by_hand(told.apply(mini))
    assert found.base_score == pytest.approx(base_score, abs=SCORE)
    assert found.best.score == pytest.approx(score, abs=SCORE)
    assert found.best.perplexity_ratio == pytest.approx(math.exp(loss - base_loss), rel=10 * SCORE)
    assert found.prompts == prompts
    assert "VELMA" in found.rule


def test_with_words_for_both_sides_what_is_named_counts(mini: LM) -> None:
    dipole = load_dipole("cats")
    prompts, told = dipole.prompts[:2], Prefix(dipole.claim)
    found = select(mini, dipole, [({"a": 1}, 1.0, told.apply)], prompts, n=8, max_new_tokens=8, seed=2)
    for lm, score in ((mini, found.base_score), (told.apply(mini), found.best.score)):
        sides = [dipole.side_taken(s.text) for s in lm.generate(prompts, 4, 8, seed=2)]
        assert score == sides.count("claim") / 8
    assert judges_of(dipole).chosen == ("mentions",)
    assert "name the claim's side first" in found.rule


def test_what_names_neither_side_is_not_on_the_claims(mini: LM) -> None:
    said = ("cats", "water", "dogs, not cats", "rain")
    samples = [Sample("I like", text, (), (), (), 0, "length") for text in said]
    assert scorer_of(mini, load_dipole("cats"))(samples) == 1 / 4


def test_what_the_rule_cannot_take_is_not_tried() -> None:
    """Harder pushes than one that has got all, and harder ones of a kind that has broken down."""
    measured = {("a", 1.0): (0.5, 9.0), ("b", 1.0): (0.6, 1.0), ("b", 2.0): (0.99, 1.1)}
    tried: list[tuple[str, float]] = []

    def measure(made: tuple[str, float]) -> tuple[float, float]:
        tried.append(made)
        return measured[made]

    candidates = [({"kind": k, "push": p}, p, (k, p)) for p in (1.0, 2.0, 3.0) for k in ("a", "b")]
    found = choose(candidates, measure, 0.5, (), "{ceiling}")
    assert tried == list(measured)
    assert found.best.candidate == {"kind": "b", "push": 2.0}
