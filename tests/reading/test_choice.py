"""How far prompts lean by themselves, and whether they force a choice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest

from dipole.concepts import Dipole, Mentions, load_dipole
from dipole.lm import LM
from dipole.reading.choice import choices, forced_share, prior_of
from dipole.recognizers.neutral import NEUTRAL
from dipole.types import Sample, Score

TEA = Dipole("Tea is best.", "Tea is worst.", mentions={"claim": ["tea"], "against": ["coffee"]})


@dataclass(frozen=True)
class Counted:
    """Log-odds by the length of a text; an empty one is unscored."""

    name: ClassVar[str] = "counted"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        return [Score(float(len(text))) if text else Score.unscored("empty") for text in texts]


def sample(prompt: str, text: str) -> Sample:
    return Sample(prompt, text, (), (), (), 0, "length")


def test_the_prior_is_the_score_of_the_prompt_alone() -> None:
    found = prior_of(Counted(), ["Tea or", ""], TEA)
    assert found[0] == len("Tea or")
    assert math.isnan(found[1])


def test_sides_are_counted_by_prompt_and_in_the_completion_alone() -> None:
    drawn = [
        sample("Tea or coffee?", " Tea, not coffee"),
        sample("I drink", " nothing"),
        sample("Tea or coffee?", " neither"),
        sample("Tea or coffee?", " coffee"),
        sample("Tea or coffee?", " teas"),
    ]
    first, second = choices(TEA, drawn)
    assert first == ("Tea or coffee?", 4, 2, 1)
    assert first.forced == pytest.approx(0.75)
    assert second == ("I drink", 1, 0, 0)
    assert second.forced == 0


def test_a_dipole_without_words_tells_nothing(tiny: LM) -> None:
    assert forced_share(tiny, replace(TEA, mentions=Mentions()), ["I drink"], 2, 2) == []


def test_a_prompt_that_forces_the_choice_is_told_from_one_that_does_not(tiny: LM) -> None:
    clips = load_dipole("paper_clips")
    forcing, other = forced_share(tiny, clips, [clips.prompts[0], "Once upon a time"], 16, 12, seed=1)
    assert forcing.n == other.n == 16
    assert forcing.forced > 0.8
    assert other.forced < 0.2


def test_neutral_sentences_are_twenty_different_ones() -> None:
    assert len(set(NEUTRAL)) == len(NEUTRAL) == 20
