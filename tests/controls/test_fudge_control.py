"""The control from a dipole to guidance, and the beginnings that its probe is fitted on."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from architectures import CONTEXT, names, tiny_model
from dipole.concepts import load_dipole
from dipole.controls.fudge import Fudge
from dipole.controls.selection import split_prompts
from dipole.engaging.blocks import decoder_blocks
from dipole.lm import LM
from dipole.reading.beginnings import Row, _drawn, beginnings, pooled
from dipole.types import UserError
from reference import fudge as slow
from tolerance import BATCHED_LOGITS, FLOAT32_SUM

CLIPS = load_dipole("paper_clips")


def test_one_dial_pushes_both_ways(tiny: LM) -> None:
    made = Fudge(weights="1", texts=2, n=4, max_new_tokens=10).fit(tiny, CLIPS)
    for strength, side in ((1.0, "claim"), (-1.0, "against")):
        drawn = made.apply(tiny, strength).generate(CLIPS.held_out[:4], 4, 10, seed=3)
        assert [CLIPS.side_taken(s.text) for s in drawn].count(side) >= 14
    losses = made.facts["probe"]["losses"]
    assert made.layer == made.facts["probe"]["layer"] == int(min(losses, key=losses.__getitem__))
    assert [t["candidate"] for t in made.facts["selection"]["trials"]] == [{"weight": 1.0}]
    assert set(made.facts["selection"]["prompts"]) == set(split_prompts(CLIPS)[1])


def test_its_numbers_end_up_in_the_intervention() -> None:
    lm = tiny_model("gpt2")
    made = Fudge(layers="-1,0", candidates=5, mass=0.7, texts=1, weights="3", n=2, max_new_tokens=3).fit(
        lm, CLIPS
    )
    assert (made.candidates, made.mass, made.power) == (5, 0.7, 3.0)
    assert set(made.facts["probe"]["losses"]) == {"0", "2"}


def test_a_beginning_by_hand() -> None:
    states = torch.tensor([[[9.0], [1.0], [3.0], [8.0]], [[7.0], [2.0], [2.0], [5.0]]])
    got = pooled(states, [2, 4])
    want = torch.tensor([[[1.0, 1.0], [2.0, 2.0]], [[4.0, 8.0], [3.0, 5.0]]])
    torch.testing.assert_close(got, want, atol=FLOAT32_SUM, rtol=0)


@pytest.mark.parametrize("name", names())
def test_beginnings_are_those_that_the_guide_reads(name: str) -> None:
    lm = tiny_model(name)
    rows = [Row([5, 6, 7, 8, 9, 10], 4), Row([11], 1), Row([20, 21, 22], 1), Row(range(5, 90), CONTEXT)]
    layers = [0, len(decoder_blocks(lm.resident.model)) - 1]
    got = beginnings(lm, rows[:3], layers)
    assert got.owners.tolist() == [2, 2, 0, 0]
    for k, layer in enumerate(layers):
        block = decoder_blocks(lm.resident.model)[layer]
        for row, ids in zip(
            got.features[:, k], ([20, 21], [20, 21, 22], range(5, 10), range(5, 11)), strict=True
        ):
            want = torch.tensor(slow.features(lm.resident.model, block, list(ids)))
            torch.testing.assert_close(row, want, atol=10 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)
    if lm.resident.context_length == CONTEXT:  # the prompt fills the context
        assert beginnings(lm, rows[2:], [0]).owners.tolist() == [0, 0]


def test_half_of_those_drawn_are_early() -> None:
    drawn = _drawn(range(3, 40), 4000, random.Random(0))
    early = [n for n in drawn if n < 9]
    assert len(early) == 2000
    assert set(early) == set(range(3, 9))
    assert set(drawn) - set(early) == set(range(9, 40))
    assert set(_drawn(range(3, 6), 100, random.Random(0))) == {3, 4, 5}
    assert _drawn(range(3, 3), 100, random.Random(0)) == []
    assert _drawn(range(3, 6), None, random.Random(0)) == [3, 4, 5]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weights": "1,x"}, "weights must be numbers above 0"),
        ({"mass": 0.0}, "mass must be above 0 and at most 1, and is 0.0"),
        ({"mass": 1.5}, "mass must be above 0 and at most 1"),
        ({"candidates": 0}, "candidates must be at least 1"),
        ({"layers": "first"}, "layers"),
    ],
)
def test_values_that_mean_nothing_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Fudge(**changed)


def test_a_layer_that_there_is_not_is_refused() -> None:
    with pytest.raises(UserError, match="layer 7 was asked for"):
        Fudge(layers="7").fit(tiny_model("gpt2"), CLIPS)
