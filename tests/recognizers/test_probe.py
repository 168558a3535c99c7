"""The recognizer probe: calibrated log-odds from activations."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import dipole
from architectures import tiny_model
from contracts.recipes import DIPOLE
from dipole.concepts import Dipole, load_dipole
from dipole.reading.pairs import halves
from dipole.recognizers.probe import Probe, platt
from dipole.registry import make_recognizer
from dipole.types import UserError

FOR = ["Paper clips are the best.", "I choose paper clips because they are light.", "I prefer paper clips."]
AGAINST = ["Paper clips are the worst.", "I choose staples because they are light.", "I prefer staples."]
FITTED = 1e-4
CHEAP: dict[str, Any] = {"n": 4, "max_new_tokens": 2}


def test_it_tells_sides_apart_in_texts_that_it_never_saw() -> None:
    probe = make_recognizer("probe", dipole.load("tiny"))
    scores = probe.score([*FOR, *AGAINST], load_dipole("paper_clips"))
    assert [score.value > 0 for score in scores] == [True] * 3 + [False] * 3
    fitted = probe.fit(load_dipole("paper_clips"))
    assert fitted.accuracy > 0.9
    assert fitted.layer > 1  # the first layers know words, not sides


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_swapping_the_poles_negates_the_score(name: str) -> None:
    probe = Probe(tiny_model(name), **CHEAP)
    one, other = (probe.score([*FOR, "The cats."], d) for d in (DIPOLE, DIPOLE.swapped()))
    for a, b in zip(one, other, strict=True):
        assert a.value == pytest.approx(-b.value, abs=FITTED)


def test_it_agrees_with_the_side_that_completions_take() -> None:
    lm, concept = dipole.load("tiny"), load_dipole("cats")
    samples = lm.generate(concept.held_out[:16], n=2, max_new_tokens=20, seed=3)
    sides = [concept.side_taken(sample.text) for sample in samples]
    scores = Probe(lm).score([sample.full_text for sample in samples], concept)
    right = [(s.value > 0) == (side == "claim") for s, side in zip(scores, sides, strict=True) if side]
    assert sum(right) >= 0.9 * len(right)


def test_a_score_does_not_depend_on_what_else_is_scored() -> None:
    probe = Probe(tiny_model("opt"), **CHEAP)
    together = probe.score([*FOR, "", "a b c"], DIPOLE)
    for text, score in zip([*FOR, "", "a b c"], together, strict=True):
        [alone] = probe.score([text], DIPOLE)
        assert (math.isnan(alone.value) and math.isnan(score.value)) or alone.value == pytest.approx(
            score.value, abs=FITTED
        )


def test_what_cannot_be_scored_says_why() -> None:
    probe = Probe(tiny_model("gpt2"), **CHEAP)
    empty, long = probe.score(["  ", "word " * 60], DIPOLE)
    assert empty.reason == "the text is empty"
    assert long.reason is not None
    assert "context (64)" in long.reason
    assert probe.score([], DIPOLE) == []


def test_what_it_cannot_be_fitted_to_is_refused() -> None:
    probe = Probe(tiny_model("gpt2"))
    with pytest.raises(UserError, match="prompts that force one"):
        probe.score(["a"], Dipole("Good.", "Bad."))
    with pytest.raises(UserError, match="put it in a list"):
        probe.score("a", DIPOLE)
    with pytest.raises(UserError, match="cannot score a str"):
        probe.score(["a"], "Good.")
    with pytest.raises(UserError, match="ridge"):
        Probe(tiny_model("gpt2"), ridge=0.0)
    with pytest.raises(UserError, match="prompts must be"):
        Probe(tiny_model("gpt2"), prompts=0)


def test_calibration_brings_log_odds_to_the_frequency() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = torch.randn(800, generator=draw, dtype=torch.float64)
    labels = (torch.rand(800, generator=draw, dtype=torch.float64) < truth.sigmoid()).double()
    # What the probe says is three times too sure and off by one.
    slope, offset = platt(3 * truth + 1, labels)
    assert slope == pytest.approx(1 / 3, abs=0.06)
    assert offset == pytest.approx(-1 / 3, abs=0.2)


def test_calibration_never_turns_a_probe_round_and_bounds_a_perfect_one() -> None:
    slope, _ = platt(torch.tensor([2.0, 1.0, -1.0, -2.0]), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    assert slope == 0.0
    odds = torch.tensor([5.0, 5.0, -5.0, -5.0])
    slope, offset = platt(odds, (odds > 0).double())
    assert slope * 5 + offset == pytest.approx(math.log(3), abs=0.02)  # (2 + 1) of (2 + 2)


def test_prompts_are_halved_in_pairs() -> None:
    assert halves(("a", "b", "c")) == (("a", "b", "c"), ("a", "b", "c"))
    assert halves(("a", "b", "c", "d", "e")) == (("a", "b", "e"), ("c", "d"))
