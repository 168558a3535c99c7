"""`check`: what it measures, by hand and on the bundled LM, and what it says."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import Any, ClassVar

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import dipole
from dipole.concepts import Dipole, Mentions, load_dipole
from dipole.effects import Interval
from dipole.evaluation.check import check
from dipole.evaluation.check_advice import advice_on, chosen
from dipole.evaluation.check_record import Judged
from dipole.evaluation.separation import grouped_separation, separation
from dipole.lm import LM
from dipole.reading.choice import Choice
from dipole.reading.told import opinions, tell
from dipole.recognizers.neutral import NEUTRAL
from dipole.types import Score, UserError
from tolerance import FLOAT32_SUM

CLIPS = replace(load_dipole("paper_clips"), held_out=())
FEW = replace(CLIPS, prompts=CLIPS.prompts[:3])


NONE = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Words:
    """Log-odds that count words of either side, and another that says nothing; no text is unscored."""

    lean: float = 0.0
    name: ClassVar[str] = "words"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        return [
            Score(t.count("clip") - t.count("staple") + self.lean * t.count("So"))
            if t
            else Score.unscored("nothing")
            for t in texts
        ]


@dataclass(frozen=True)
class Deaf:
    """Says the same of every text."""

    name: ClassVar[str] = "deaf"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        return [Score(1.0)] * len(texts)


@pytest.mark.parametrize("seed", range(3))
def test_separation_is_the_area_under_the_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    up, down = rng.normal(0.8, 1, 30).round(1), rng.normal(0, 1, 30).round(1)
    units = [i // 4 for i in range(30)]
    found = separation(up, down, units)
    labels, scores = [1] * 30 + [0] * 30, [*up, *down]
    assert found.mean == pytest.approx(roc_auc_score(labels, scores), abs=FLOAT32_SUM)
    assert found.low < found.mean < found.high
    assert found.high - found.low > 0.05
    mixed = rng.permutation(60)
    grouped = grouped_separation(
        np.array(scores)[mixed], [bool(labels[i]) for i in mixed], [units[i % 30] for i in mixed]
    )
    assert grouped.mean == pytest.approx(found.mean, abs=FLOAT32_SUM)


def test_what_is_not_scored_takes_no_part() -> None:
    up, down = [1.0, math.nan, 0.0, 3.0], [0.0, 2.0, math.nan, 3.0]
    wanted = roc_auc_score([1, 1, 1, 0, 0, 0], [1, 0, 3, 0, 2, 3])
    assert separation(up, down, [0, 1, 2, 3]).mean == pytest.approx(wanted)
    assert math.isnan(separation([math.nan], [1.0], [0]).mean)
    assert math.isnan(separation([], [], []).mean)
    assert math.isnan(separation([1.0], [0.0], [0]).low)


def test_the_interval_covers_what_many_draws_say_and_is_as_wide_as_they_spread() -> None:
    rng = np.random.default_rng(0)
    truth = 0.7602  # of two normal distributions whose means are one standard deviation apart
    found = [separation(rng.normal(1, 1, 24), rng.normal(0, 1, 24), range(24)) for _ in range(60)]
    assert sum(one.low <= truth <= one.high for one in found) >= 52
    width, spread = mean(one.high - one.low for one in found), np.std([one.mean for one in found])
    assert 0.8 < width / (2 * 1.96 * spread) < 1.35


def test_what_it_measures_of_a_recognizer_that_counts(tiny: LM) -> None:
    found = check(tiny, FEW, [Words()], n=12, told=6, max_new_tokens=12, seed=3)
    [row] = found.judged
    assert row.prompts == tuple(Words().score([p], FEW)[0].value for p in FEW.prompts)
    assert row.neutral == row.neutral_size == 0
    assert math.isnan(row.nothing)
    assert row.unscored == 0
    assert row.apart.mean > 0.9
    assert row.named.mean > 0.9
    assert [c.n for c in found.choices] == [4, 4, 4]
    assert min(c.forced for c in found.choices) > 0.5
    assert [c.n for c in found.told] == [6, 6]
    assert found.told[0].claim > found.told[0].against
    assert found.told[1].claim < found.told[1].against
    assert (found.reward, found.held_out) == ("words", None)
    encode = tiny.resident.continuation_ids
    assert found.pole_tokens == (len(encode(" " + FEW.claim)), len(encode(" " + FEW.against)))
    samples = tiny.generate(list(FEW.prompts), 4, 12, seed=3)
    drawn = [v for sample in samples for v in sample.logprobs]
    assert found.entropy == pytest.approx(-sum(drawn) / len(drawn), abs=FLOAT32_SUM)


@pytest.mark.parametrize("lean", [0.0, 0.2])
def test_the_numbers_of_a_recognizer_by_hand(tiny: LM, lean: float) -> None:
    prompts = (CLIPS.prompts[0], "So So " + CLIPS.prompts[1])
    words, concept = Words(lean), replace(CLIPS, prompts=prompts)
    [row] = check(tiny, concept, [words], told=10, max_new_tokens=12, seed=5).judged
    pair = tell(tiny, concept, prompts, 10, 12, 5)
    both = [*pair.claim, *pair.against]
    said = [*pair.texts(pair.claim), *pair.texts(pair.against)]
    asked = [*pair.prompts, *pair.prompts]
    raw = {text: score.value for text, score in zip(said, words.score(said, concept), strict=True)}
    own = {text: score.value for text, score in zip(prompts, words.score(prompts, concept), strict=True)}
    less = [raw[text] - own[prompt] for text, prompt in zip(said, asked, strict=True)]
    labels = [1] * 10 + [0] * 10
    assert row.apart.mean == pytest.approx(roc_auc_score(labels, [raw[text] for text in said]))
    assert row.centred.mean == pytest.approx(roc_auc_score(labels, less))
    squares = 0.0
    for prompt in prompts:
        values = [raw[text] for text, other in zip(said, asked, strict=True) if other == prompt]
        squares += sum((value - mean(values)) ** 2 for value in values)
    assert row.spread == pytest.approx(math.sqrt(squares / (20 - 2)))
    used = less if row.centre else [raw[text] for text in said]
    assert row.saturated == mean(abs(value) > math.log(19) for value in used)
    thought = [[s.text.strip() for s in side] for side in opinions(tiny, concept, 5, 12, 5)]
    scores = [s.value for side in thought for s in words.score(side, concept)]
    known = [(label, v) for label, v in zip([1] * 5 + [0] * 5, scores, strict=True) if not math.isnan(v)]
    assert row.opinions.mean == pytest.approx(roc_auc_score(*zip(*known, strict=True)))
    sides = [concept.side_taken(sample.text) for sample in both]
    named = [(side == "claim", value) for side, value in zip(sides, used, strict=True) if side]
    assert row.named.mean == pytest.approx(roc_auc_score(*zip(*named, strict=True)))


def test_a_recognizer_that_leans_by_the_prompt_is_to_be_centred(tiny: LM) -> None:
    prompts = (CLIPS.prompts[0], "So " * 60 + CLIPS.prompts[1])
    found = check(tiny, replace(CLIPS, prompts=prompts), [Words(0.2)], told=16, max_new_tokens=8)
    [row] = found.judged
    assert row.centre
    assert row.centred.mean > row.apart.mean + 0.1
    assert any("less its prompt's" in line for line in found.advice)
    assert row.best is row.named
    assert replace(row, named=NONE).best is row.opinions
    assert replace(row, named=NONE, opinions=NONE).best is row.centred
    assert replace(row, named=NONE, opinions=NONE, centre=False).best is row.apart


def test_recognizers_that_tell_nothing_apart_are_not_recommended(tiny: LM) -> None:
    found = check(tiny, FEW, [Deaf()], n=4, told=4, max_new_tokens=3)
    assert found.judged[0].apart == Interval(0.5, 0.5, 0.5)
    assert found.reward is None
    assert found.advice[0].startswith("No recognizer tells the two sides apart")


def test_prompts_that_force_nothing_are_named(tiny: LM) -> None:
    odd = replace(CLIPS, prompts=(CLIPS.prompts[0], "Once upon a time"))
    found = check(tiny, odd, [Words()], n=16, told=4, max_new_tokens=10)
    said = [line for line in found.advice if "Drop or reword" in line]
    assert said == ["Drop or reword the prompt 'Once upon a time': its completions take a side in 0 of 8."]
    none = check(tiny, replace(CLIPS, prompts=("Once upon a time",)), [Words()], n=8, told=4)
    assert any(line.startswith("No prompt forces the choice") for line in none.advice)


def test_without_words_for_the_sides_it_says_what_it_cannot_tell(tiny: LM) -> None:
    found = check(tiny, replace(FEW, mentions=Mentions()), ["velma"], n=4, told=4, max_new_tokens=6)
    assert found.choices == found.told == ()
    assert math.isnan(found.judged[0].named.mean)
    assert any("no words for its sides" in line for line in found.advice)
    assert "–" in str(found)


def test_the_usual_recognizers_on_the_bundled_lm(tiny: LM) -> None:
    found = dipole.check(tiny, FEW, n=12, told=12)
    rows = {row.name: row for row in found.judged}
    assert {"stance", "velma"} <= set(rows)
    assert rows["stance"].apart.mean > 0.9
    assert abs(rows["stance"].neutral) < 0.3
    assert found.reward in rows
    printed = str(found)
    assert all(prompt in printed for prompt in FEW.prompts)
    assert "stance" in printed
    data = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert data["choices"][0]["prompt"] == FEW.prompts[0]
    assert data["judged"][0]["apart"]["mean"] == rows["stance"].apart.mean
    again = dipole.check(tiny, FEW, n=12, told=12)
    assert again.to_dict() == found.to_dict()


def test_bad_input_is_an_error(tiny: LM) -> None:
    for given, said in (
        ({"n": 0}, "n must be at least 1"),
        ({"told": 0}, "told must be at least 1"),
        ({"recognizers": []}, "no recognizer to check"),
        ({"recognizers": ["vlma"]}, "vlma"),
        ({"prompts": []}, "nothing to continue"),
    ):
        with pytest.raises(UserError, match=said):
            check(tiny, FEW, **given)
    with pytest.raises(UserError, match="nothing to continue"):
        check(tiny, Dipole("Tea is best.", "Tea is worst."))


def judged(name: str, area: float, **more: Any) -> Judged:
    interval = Interval(area, area - 0.1, area + 0.1)
    given: dict[str, Any] = {
        "apart": interval, "centred": interval, "named": NONE, "opinions": interval,
        "unscored": 0, "spread": 1.0, "prompts": (3.0,), "neutral": 0.0, "neutral_size": 0.0, "nothing": 0.0,
        "saturated": 0.0, "centre": False, **more,
    }  # fmt: skip
    return Judged(name, **given)


def test_the_second_judge_is_of_another_kind_where_there_is_one() -> None:
    assert chosen([judged("velma", 0.8), judged("stance", 0.9), judged("nli", 0.7)]) == ("stance", "nli")
    assert chosen([judged("velma", 0.8), judged("stance", 0.9)]) == ("stance", "velma")
    assert chosen([judged("velma", 0.55)]) == (None, None)
    assert chosen([judged("velma", 0.3), judged("nli", 0.7)]) == ("nli", None)


def test_what_follows_from_numbers() -> None:
    free, pole = [Choice("p", 10, 5, 4)], (5, 5)
    obedient = [Choice("", 8, 6, 1), Choice("", 8, 1, 6)]
    fine = advice_on([judged("nli", 0.9)], free, obedient, 2.0, pole)
    assert [line.split()[0] for line in fine] == ["Steer", "No"]
    ends = advice_on([judged("nli", 0.9, saturated=0.6, centre=True)], free, obedient, 2.0, pole)
    assert any("less its prompt's" in line and "+3.0 nats" in line for line in ends)
    assert any("60.0% of the texts lie at the end" in line for line in ends)
    flat = advice_on([judged("nli", 0.9)], free, [obedient[1], obedient[0]], 0.1, (5, 12))
    assert any("does not do as it is told" in line for line in flat)
    assert any("nearly the same each time" in line for line in flat)
    assert any("far apart in length (5 and 12 tokens)" in line for line in flat)


def test_neutral_sentences_and_nothing_are_asked(tiny: LM) -> None:
    heard: list[str] = []

    class Listening(Deaf):
        def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
            heard.extend(texts)
            return super().score(texts, concept)

    check(tiny, FEW, [Listening()], n=4, told=2, max_new_tokens=2)
    assert {*NEUTRAL[:10], "", *FEW.prompts} <= set(heard)
    assert len(heard) == len(set(heard))
