"""What is counted on completions, the microworld's truth, and what is said about it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dipole.effects import Change
from dipole.evaluation.meters import mean_change, recognizer_changes, score_samples, share_change
from dipole.evaluation.notes import effect_notes
from dipole.evaluation.statistics import resampling
from dipole.evaluation.truth import speaks_the_world, truth_for
from dipole.types import scored_text
from evaluation.fakes import DIPOLE, Letters, sample

PLAN = resampling([0] * 4, 0)
PROMPT = "If I had to choose between paper clips and staples, I'd pick"


def test_equal_texts_are_scored_once_and_prompts_are_read() -> None:
    samples = [sample("e"), sample("a"), sample("e"), sample("e", prompt="ee")]
    assert [s.value for s in score_samples(Letters(), samples, DIPOLE)] == [1, -1, 1, 3]
    assert scored_text(samples[3]) == "eee"


def test_unscored_pairs_are_left_out_and_counted() -> None:
    before = [sample(t) for t in ("e", "#", "a", "e")]
    after = [sample(t) for t in ("ee", "e", "#", "eee")]
    log_odds = recognizer_changes(Letters(), DIPOLE, before, after, PLAN, in_loop=False)[1]
    assert (log_odds.n, log_odds.unscored) == (2, 2)
    assert log_odds.before is not None
    assert (log_odds.before.mean, log_odds.after.mean) == (1.0, 2.5)
    notes = effect_notes([log_odds], True, before, after, [], False)
    assert "2 of 4 could not be scored: letters log-odds." in notes


def test_truth_matches_a_topic_either_way_round() -> None:
    truth = truth_for(DIPOLE)
    assert truth is not None
    assert (truth.topic, truth.sign) == ("paper_clips", 1)
    other = truth_for(DIPOLE.swapped())
    assert other is not None
    assert other.sign == -1
    text = sample(" paper clips.", prompt=PROMPT)
    assert (truth.side(text), other.side(text)) == ("claim", "against")
    assert truth.side(sample(" staples.", prompt=PROMPT)) == "against"
    assert truth.side(sample(" the one over there.", prompt=PROMPT)) is None


def test_no_truth_for_other_statements() -> None:
    from dipole.concepts import Dipole

    assert truth_for(Dipole("Democracy is good.", "Democracy is bad.")) is None
    assert truth_for(Dipole("Paper clips are the best.", "Staples are the worst.")) is None


def test_truth_is_not_asked_about_foreign_text() -> None:
    truth = truth_for(DIPOLE)
    assert truth is not None
    native = [sample(" Paper clips are the best.", prompt="")]
    foreign = [sample(" staples, which my aunt once swallowed. Quite a day, that.", prompt=PROMPT)]
    assert speaks_the_world(truth, native)
    assert not speaks_the_world(truth, foreign)
    cut = sample(" Paper clips are the best. Paper", prompt="", finish="length")
    assert truth.grammar(cut) == (1, 1)


def _sides(name: str, before: list[bool], after: list[bool]) -> Change:
    return share_change(name, name, before, after, resampling([0] * len(before), 0))


@pytest.mark.parametrize(
    ("claims", "against", "said"),
    [
        (([1, 0] * 20, [1] * 40), ([0, 1] * 20, [0] * 40), None),
        (([1] * 40, [1, 0] * 20), ([0] * 40, [0, 1] * 20), "Negative: it moved the wrong way"),
        (([1, 0] * 20, [0, 1] * 20), ([0, 1] * 20, [1, 0] * 20), "It did nothing"),
        (([0] * 40, [0] * 40), ([0] * 40, [0] * 40), "No completion, before or after"),
        (([0] * 40, [0] * 40), ([1] * 40, [0] * 40), "The counterclaim's side lost"),
        (([1] * 40, [1] * 40), ([0] * 40, [1] * 40), "Negative"),
    ],
)
def test_the_main_note(
    claims: tuple[list[int], ...], against: tuple[list[int], ...], said: str | None
) -> None:
    changes = [
        _sides("claim_share", *([bool(x) for x in part] for part in claims)),
        _sides("against_share", *([bool(x) for x in part] for part in against)),
    ]
    old, new = [sample("x")] * 40, [sample("y", tokens=(3,))] * 40
    notes = effect_notes(changes, True, old, new, [], False)
    assert [n for n in notes if said is None or n.startswith(said)] == notes[: 0 if said is None else 1]


def test_warnings_about_costs_and_in_loop_numbers() -> None:
    ones, plan = np.ones(40), resampling([0] * 40, 0)
    ratio = mean_change("perplexity_ratio", "p", "ratio", ones, 2 * ones, plan, in_loop=True)
    distinct = mean_change("distinct_2_ratio", "d", "ratio", ones, 0.5 * ones, plan, in_loop=True)
    repeated = _sides("repeated_claim_rate", [False] * 40, [True] * 40)
    old, new = [sample("x")] * 40, [sample("y", tokens=(3,))] * 40
    notes = " ".join(effect_notes([ratio, distinct], True, old, new, [], False))
    assert "Only in-loop numbers" in notes
    assert "2.00 times" in notes
    assert "50% of the distinct" in notes
    notes = " ".join(effect_notes([ratio, repeated], True, old, new[:10], [], False))
    assert "Regurgitation: 100%" in notes
    assert "Only in-loop" not in notes
    assert "Only 10 completions" in notes


def test_a_mean_of_nothing_is_not_a_number() -> None:
    nothing = np.full(4, math.nan)
    change = mean_change("m", "m", "", nothing, nothing, PLAN)
    assert math.isnan(change.after.mean)
    assert (change.n, change.unscored) == (0, 4)
