"""Retention of a translated vector, against arithmetic by hand."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch

from architectures import tiny_model
from contracts.recipes import DIPOLE
from dipole.evaluation.transfer import Transfer, verify
from dipole.interventions.activations import SteeringVector
from dipole.lm import LM
from dipole.recognizers._told import leanings, tell
from dipole.stitching.fitting import Stitch
from dipole.stitching.mapping import layer_norms, mapped_vector
from dipole.stitching.ridge import Map
from dipole.types import UserError
from tolerance import FLOAT32_SUM, SCORE

HELD_OUT = replace(DIPOLE, held_out=("The dogs", "She said that", "I would go"))
RELATIVE = 0.5


def random_map(seed: int) -> Map:
    return Map(
        torch.randn(32, 32, generator=torch.Generator().manual_seed(seed)).double(), torch.ones(32).double()
    )


def stitch() -> Stitch:
    shuffled = (random_map(2), random_map(3))
    return Stitch(1, 1, random_map(1), 0.5, 0.5, 1.0, None, 0.5, 100, 100.0, (1.0, 1.0), shuffled)


def both() -> tuple[LM, LM]:
    return tiny_model("gpt2"), tiny_model("llama")


def source_vector() -> SteeringVector:
    row = torch.randn(1, 32, generator=torch.Generator().manual_seed(4))
    median = layer_norms(both()[0], DIPOLE.prompts, 1)[0]
    return SteeringVector((1,), row * (RELATIVE * median / row.norm()), activation_norms=(median,))


def translated() -> SteeringVector:
    norms = layer_norms(both()[1], DIPOLE.prompts, 1)
    return mapped_vector(source_vector(), stitch(), both()[1], RELATIVE, norms)


@functools.cache
def measured(factor: float) -> Transfer:
    """The native vector is the translated one times a factor, before norms are made equal."""
    source, target = both()
    native = translated().scaled(factor)
    return verify(source_vector(), translated(), stitch(), source, target, HELD_OUT, 12, 5, 3, native=native)


def test_the_native_vector_retains_itself_and_its_opposite_nothing_but_the_sign() -> None:
    for factor, wanted in ((1.0, 1.0), (-2.0, -1.0)):
        found = measured(factor)["translated"]
        assert found.retention is not None
        assert found.slope_ratio is not None
        assert found.retention.mean == pytest.approx(wanted, abs=SCORE)
        assert found.slope_ratio.mean == pytest.approx(wanted, abs=SCORE)


def test_effect_and_slope_by_hand() -> None:
    transfer, (_, target) = measured(1.0), both()
    told = tell(target, HELD_OUT, HELD_OUT.held_out, 12, 5, 3)
    rows = {s: leanings(translated().apply(target, s), told).tolist() for s in (-1.0, -0.5, 0.0, 0.5, 1.0)}
    share = {s: sum(1 / (1 + math.exp(-x)) for x in row) / 12 for s, row in rows.items()}
    found = transfer["translated"]
    assert [c.mean for c in found.curve] == pytest.approx([share[s] for s in transfer.strengths], abs=SCORE)
    assert found.effect.mean == pytest.approx((share[1.0] - share[-1.0]) / 2, abs=SCORE)
    slope = sum(s * sum(row) / 12 for s, row in rows.items()) / sum(s * s for s in rows)
    assert found.slope.mean == pytest.approx(slope, abs=SCORE)
    assert found.effect.low <= found.effect.mean <= found.effect.high


def test_nulls_are_means_over_their_draws_at_equal_norm() -> None:
    transfer, (_, target) = measured(1.0), both()
    told = tell(target, HELD_OUT, HELD_OUT.held_out, 12, 5, 3)
    effects = []
    for other in stitch().shuffled:
        made = mapped_vector(
            source_vector(), stitch(), target, RELATIVE, (translated().activation_norms[0], 1.0), other
        )
        assert made.relative[0] == pytest.approx(RELATIVE, rel=FLOAT32_SUM)
        sides = [leanings(made.apply(target, s), told).sigmoid().mean() for s in (1.0, -1.0)]
        effects.append(float(sides[0] - sides[1]) / 2)
    found = transfer["shuffled"]
    assert (found.draws, transfer["random"].draws, transfer["labels"].draws) == (2, 8, 8)
    assert found.effect.mean == pytest.approx(sum(effects) / 2, abs=SCORE)
    own = transfer["native"].effect.mean
    assert found.spread == pytest.approx(abs(effects[0] - effects[1]) / math.sqrt(2) / abs(own), rel=1e-3)


def test_it_says_what_it_was_measured_on() -> None:
    transfer = measured(1.0)
    assert (transfer.prompts, transfer.held_out, transfer.n) == (HELD_OUT.held_out, True, 12)
    assert [r.name for r in transfer.responses] == [
        "source",
        "native",
        "translated",
        "shuffled",
        "random",
        "labels",
    ]
    assert transfer["source"].retention is None
    assert transfer.relative == pytest.approx(RELATIVE, rel=FLOAT32_SUM)
    assert -1.0 <= transfer.cosine.cosine <= 1.0


def test_what_takes_no_side_is_refused() -> None:
    source, target = both()
    with pytest.raises(UserError, match="takes no side"):
        verify(replace(source_vector(), operator="project"), translated(), stitch(), source, target, HELD_OUT)
    with pytest.raises(UserError, match="no prompts"):
        verify(source_vector(), translated(), stitch(), source, target, replace(DIPOLE, prompts=()))
    with pytest.raises(UserError, match="64 tokens"):
        verify(source_vector(), translated(), stitch(), source, target, HELD_OUT, max_new_tokens=60)


def test_nothing_is_retained_of_an_effect_that_may_be_none() -> None:
    source, target = both()
    idle = SteeringVector((1,), torch.ones(1, 32), activation_norms=(1e9,))
    faint = translated().scaled(1e-9)
    found = verify(source_vector(), faint, stitch(), source, target, HELD_OUT, 3, 3, 3, native=idle)
    assert found["native"].effect.mean == pytest.approx(0.0, abs=SCORE)
    assert found["translated"].retention is None
    assert found["translated"].slope_ratio is None
