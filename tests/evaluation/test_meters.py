"""What is counted on completions, the microworld's truth, and what is said about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from dipole.effects import Change
from dipole.evaluation.meters.likelihood import perplexity_change
from dipole.evaluation.meters.protocol import Direction, Judge, Quantity, paired, values_of
from dipole.evaluation.meters.recognizers import scored
from dipole.evaluation.meters.truth import speaks_the_world, truth_for
from dipole.evaluation.notes import effect_notes
from dipole.evaluation.statistics import resampling
from dipole.types import Score, UserError, scored_text
from evaluation.fakes import DIPOLE, Letters, sample
from reference import side_effects as slow

LM: Any = None  # these meters read text alone
TOWARDS = {"claim_share", "letters_log_odds"}
PLAN = resampling([0] * 4, 0)
PROMPT = "If I had to choose between paper clips and staples, I'd pick"


@dataclass(frozen=True)
class Plain:
    """What another package might offer: no more than the protocol asks for."""

    values: Any
    name: ClassVar[str] = "odd"
    label: ClassVar[str] = "odd one"
    unit: ClassVar[str] = ""
    direction: ClassVar[Direction] = "none"
    in_loop: ClassVar[bool] = False

    def measure(self, lm: Any, samples: Any) -> Any:
        return self.values


def test_equal_texts_are_scored_once_and_prompts_are_read() -> None:
    samples = [sample("e"), sample("a"), sample("e"), sample("e", prompt="ee")]
    read: list[str] = []

    class Reader(Letters):
        def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
            read.extend(texts)
            return super().score(texts, concept)

    judge = Judge(Reader())
    assert [s.value for s in judge.score(samples, DIPOLE)] == [1, -1, 1, 3]
    assert [s.value for s in judge.score([*samples, sample("eeee")], DIPOLE)] == [1, -1, 1, 3, 4]
    assert read == ["P:e", "P:a", "eee", "P:eeee"]
    judge.score(samples[:1], DIPOLE.swapped())  # another concept, another score
    assert read[4:] == ["P:e"]
    assert scored_text(samples[3]) == "eee"


def test_unscored_pairs_are_left_out_and_counted() -> None:
    before = [sample(t) for t in ("e", "#", "a", "e")]
    after = [sample(t) for t in ("ee", "e", "#", "eee")]
    meter = scored(Judge(Letters()), DIPOLE)[1]
    log_odds = paired(meter, *(np.array(meter.measure(LM, part)) for part in (before, after)), PLAN)
    assert (log_odds.n, log_odds.unscored) == (2, 2)
    assert log_odds.before is not None
    assert (log_odds.before.mean, log_odds.after.mean) == (1.0, 2.5)
    notes = effect_notes([log_odds], True, before, after, [], False, TOWARDS)
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
    return _change(name, np.array(before, float), np.array(after, float), "share")


def _change(name: str, before: Any, after: Any, unit: str = "", in_loop: bool = False) -> Change:
    meter = Quantity(name, name, unit, "none", lambda *_: [], in_loop)
    return paired(meter, before, after, resampling([0] * len(before), 0))


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
    notes = effect_notes(changes, True, old, new, [], False, TOWARDS)
    assert [n for n in notes if said is None or n.startswith(said)] == notes[: 0 if said is None else 1]


def test_warnings_about_costs_and_in_loop_numbers() -> None:
    ones = np.ones(40)
    ratio = _change("perplexity_ratio", ones, 2 * ones, in_loop=True)
    distinct = _change("distinct_2_ratio", ones, 0.5 * ones, in_loop=True)
    repeated = _sides("repeated_claim_rate", [False] * 40, [True] * 40)
    old, new = [sample("x")] * 40, [sample("y", tokens=(3,))] * 40
    notes = " ".join(effect_notes([ratio, distinct], True, old, new, [], False, TOWARDS))
    assert "Only in-loop numbers" in notes
    assert "2.00 times" in notes
    assert "50% of the distinct" in notes
    notes = " ".join(effect_notes([ratio, repeated], True, old, new[:10], [], False, TOWARDS))
    assert "Regurgitation: 100%" in notes
    assert "Only in-loop" not in notes
    assert "Only 10 completions" in notes


def test_a_mean_of_nothing_is_not_a_number() -> None:
    nothing = np.full(4, math.nan)
    change = _change("m", nothing, nothing)
    assert math.isnan(change.after.mean)
    assert (change.n, change.unscored) == (0, 4)


def test_a_pooled_quotient_weighs_by_what_is_below_the_line() -> None:
    before, after = (
        np.array([[1.0, 2.0], [0.0, 6.0], [math.nan, 1.0]]),
        np.array([[3.0, 4.0], [1.0, 1.0], [9.0, 9.0]]),
    )
    change = _change("q", before, after)
    assert change.before is not None
    assert change.difference is not None
    assert (change.before.mean, change.after.mean) == (1 / 8, 4 / 5)
    assert change.difference.mean == pytest.approx(4 / 5 - 1 / 8)
    assert (change.n, change.unscored) == (2, 1)


def test_perplexity_weighs_tokens() -> None:
    losses, tokens = [2.0, 9.0], [4, 3]
    before = np.array(list(zip(losses, tokens, strict=True)))
    meter = Quantity("p", "p", "", "lower", lambda *_: [])
    change = perplexity_change(meter, before, 2 * before, resampling([0, 0], 0))
    assert change.before is not None
    assert change.before.mean == pytest.approx(slow.perplexity(losses, tokens))
    assert change.after.mean == pytest.approx(slow.perplexity(losses, tokens))
    far = perplexity_change(meter, before, before + np.array([1e9, 0.0]), resampling([0, 0], 0))
    assert far.after.mean == math.inf


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0, 3.0]] * 2, ["a", "b"], 1.0])
def test_a_meter_that_gives_something_else_is_told_so(values: Any) -> None:
    with pytest.raises(UserError, match="meter 'odd' must give a number for each of 2 samples"):
        values_of(Plain(values), LM, [sample("a"), sample("b")])
