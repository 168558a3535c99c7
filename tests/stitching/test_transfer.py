"""Retention of a translated vector, against arithmetic by hand."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch

from architectures import tiny_model
from contracts.recipes import DIPOLE
from dipole.evaluation.response import over_draws
from dipole.interventions.activations import SteeringVector
from dipole.lm import LM
from dipole.reading.told import leanings, tell
from dipole.shown.numbers import number, plain_bounds
from dipole.stitching.fitting import Stitch
from dipole.stitching.mapping import layer_norms, mapped_vector
from dipole.stitching.ridge import Map
from dipole.stitching.said import null_words, response_rows
from dipole.stitching.transfer import Transfer, verify
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
    assert found.retention_draws is not None
    assert found.retention_draws.deviation == pytest.approx(
        abs(effects[0] - effects[1]) / math.sqrt(2) / abs(own), rel=1e-3
    )


def test_curves_are_compared_with_the_native_one() -> None:
    transfer = measured(-2.0)
    own = [c.mean for c in transfer["native"].curve]
    one = [c.mean for c in transfer["translated"].curve]
    found = transfer["translated"]
    assert found.pearson == pytest.approx(np.corrcoef(own, one)[0, 1], abs=SCORE)
    assert found.mse == pytest.approx(np.mean((np.array(own) - one) ** 2), abs=FLOAT32_SUM)
    assert found.pearson < 0
    same = measured(1.0)["translated"]
    assert same.pearson == pytest.approx(1.0, abs=SCORE)
    assert same.mse == pytest.approx(0.0, abs=FLOAT32_SUM)
    assert all(math.isnan(transfer[name].mse) for name in ("source", "native"))


def test_a_null_has_an_interval_over_its_draws() -> None:
    values = [0.25, -0.10, 0.15, -0.20]
    found = over_draws(values)
    assert found is not None
    wanted = scipy.stats.t.interval(0.95, 3, np.mean(values), scipy.stats.sem(values))
    assert (found.mean.low, found.mean.high) == pytest.approx(wanted, abs=FLOAT32_SUM)
    assert found.mean.mean == pytest.approx(0.025)
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert found.size == pytest.approx(0.175)
    assert over_draws([0.3]) is None
    transfer = measured(1.0)
    for name in ("shuffled", "random", "labels"):
        null = transfer[name]
        assert null.retention is not None
        assert null.retention_draws is not None
        assert null.slope_draws is not None
        assert null.retention_draws.mean.mean == pytest.approx(null.retention.mean, abs=SCORE)
        assert null.slope_ratio is not None
        assert null.slope_draws.mean.mean == pytest.approx(null.slope_ratio.mean, abs=SCORE)
    assert transfer["translated"].retention_draws is None


def test_a_table_gives_nulls_over_draws_and_the_others_over_prompts() -> None:
    transfer = measured(1.0)
    header, rows = response_rows(transfer)
    by_name = dict(zip([r.name for r in transfer.responses], rows, strict=True))
    null, own = transfer["random"], transfer["translated"]
    assert null.retention_draws is not None
    assert own.retention is not None
    at = header.index("retention")
    assert plain_bounds(null.retention_draws.mean, "share") in by_name["random"][at]
    assert number(null.retention_draws.size, "share") in by_name["random"][at + 1]
    assert plain_bounds(own.retention, "share") in by_name["translated"][at]
    assert by_name["translated"][at + 1] == ""
    assert number(null.retention_draws.size, "share") in null_words(null)


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
