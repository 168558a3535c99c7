"""Intervals against scipy, a slow loop and known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dipole.evaluation import statistics as fast
from reference import statistics as slow
from tolerance import ESTIMATE, FLOAT32_SUM


def units(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).exponential(size=n)


def no_groups(n: int, seed: int = 0, resamples: int = fast.RESAMPLES) -> fast.Resampling:
    return fast.resampling([0] * n, seed, resamples)


def test_bca_bounds_are_those_of_scipy_on_the_same_resamples() -> None:
    values = units(30)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=5000, method="BCa", rng=np.random.default_rng(1))
    left_out = np.array([np.delete(values, i).mean() for i in range(30)])
    low, high = fast.bca_bounds(values.mean(), theirs.bootstrap_distribution, left_out)
    assert low == pytest.approx(theirs.confidence_interval.low, abs=FLOAT32_SUM)
    assert high == pytest.approx(theirs.confidence_interval.high, abs=FLOAT32_SUM)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 7, 10, 39, 127, 999])
def test_student_is_that_of_scipy(degrees: int) -> None:
    assert fast.student_quantile(0.975, degrees) == pytest.approx(
        stats.t.ppf(0.975, degrees), abs=FLOAT32_SUM
    )


def test_groups_are_resampled_whole() -> None:
    rng = np.random.default_rng(3)
    groups = [list(rng.normal(rng.normal(), 0.1, size=size)) for size in (3, 4, 5, 4, 3, 4, 4, 3)]
    prompts = [g for g, group in enumerate(groups) for _ in group]
    plan = fast.resampling(prompts, 0, 10_000)
    table = np.array([[sum(group), len(group)] for group in groups])
    got = np.quantile(fast.quotient(plan.weights @ table), [0.05, 0.95])
    low, high = slow.percentile_interval(groups, 0.05, 10_000, 0)
    # Resampling units instead of groups would halve the width.
    assert got.tolist() == pytest.approx([low, high], abs=0.05 * (high - low))
    whole = fast.mean_interval([v for group in groups for v in group], plan)
    assert whole.low < low < whole.mean < high < whole.high


def test_few_prompts_are_not_resampled() -> None:
    assert fast.resampling([0, 0, 1, 1, 2, 2, 3, 3], 0).weights.shape[1] == 8
    assert fast.resampling([0, 0, 1, 1, 2, 2, 3, 3, 4], 0).weights.shape[1] == 5


def test_every_resample_has_as_many_units_as_there_are() -> None:
    plan = no_groups(17)
    assert (plan.weights.sum(1) == 17).all()
    assert plan.weights.mean(0) == pytest.approx(np.ones(17), abs=0.1)


@pytest.mark.parametrize("prompts", [1, 8])
def test_coverage_is_about_what_it_says(prompts: int) -> None:
    rng = np.random.default_rng(5)
    repeats, inside = 300, 0
    for repeat in range(repeats):
        labels = [i % prompts for i in range(40)]
        own = rng.normal(0, 0.5, size=prompts)[labels] if prompts > 1 else 0.0
        found = fast.mean_interval(rng.normal(size=40) + own, fast.resampling(labels, repeat, 500))
        inside += found.low <= 0 <= found.high
    assert 0.90 <= inside / repeats <= 0.99


def test_the_same_seed_gives_the_same_interval() -> None:
    values = units(25)
    assert fast.mean_interval(values, no_groups(25)) == fast.mean_interval(values, no_groups(25))
    assert fast.mean_interval(values, no_groups(25)) != fast.mean_interval(values, no_groups(25, seed=1))


def test_unscored_units_take_no_part() -> None:
    values = np.array([1.0, math.nan, 3.0, math.nan, 5.0, 2.0])
    got = fast.mean_interval(values, no_groups(6))
    assert got.mean == slow.mean(values.tolist())
    assert 1.0 <= got.low < got.mean < got.high <= 5.0


def test_too_little_to_resample_has_no_bounds() -> None:
    for values in ([], [2.0], [math.nan, 2.0], [math.nan, math.nan]):
        got = fast.mean_interval(values, no_groups(len(values)))
        assert math.isnan(got.low)
        assert math.isnan(got.high)
    assert got.mean is not None
    assert math.isnan(got.mean)


def test_no_spread_has_no_width() -> None:
    assert fast.mean_interval([0.0] * 9, no_groups(9)) == fast.Interval(0.0, 0.0, 0.0)


def test_a_quotient_of_sums_is_not_a_mean_of_quotients() -> None:
    nats, tokens = np.array([10.0, 2.0, 6.0]), np.array([1.0, 2.0, 12.0])
    got = fast.interval(np.stack([nats, tokens], axis=1), fast.quotient, no_groups(3))
    assert got.mean == pytest.approx(18 / 15)


def test_transformations_carry_bounds_along() -> None:
    values, plan = units(40), no_groups(40, resamples=9999)
    plain = fast.mean_interval(values, plan)
    columns = np.stack([values, np.ones(40)], axis=1)
    grown = fast.interval(columns, lambda sums: np.exp(fast.quotient(sums)), plan)
    assert grown.mean == pytest.approx(math.exp(plain.mean))
    assert grown.low == pytest.approx(math.exp(plain.low), rel=ESTIMATE)
    assert grown.high == pytest.approx(math.exp(plain.high), rel=ESTIMATE)


def test_unanimous_shares_keep_a_bound() -> None:
    plan = no_groups(128)
    none, every = fast.share_interval([0.0] * 128, plan), fast.share_interval([1.0] * 128, plan)
    want = stats.binomtest(0, 128).proportion_ci(method="wilson")
    assert (none.mean, none.low) == (0.0, 0.0)
    assert none.high == pytest.approx(want.high)
    assert (every.mean, every.high) == (1.0, 1.0)
    assert every.low == pytest.approx(1 - want.high)
    mixed = stats.binomtest(30, 128).proportion_ci(method="wilson")
    assert fast.wilson(30, 128).low == pytest.approx(mixed.low)
    assert fast.wilson(30, 128).high == pytest.approx(mixed.high)


def test_jackknife_is_the_standard_error_of_a_mean() -> None:
    values = units(20).tolist()
    left_out = [slow.mean([*values[:i], *values[i + 1 :]]) for i in range(20)]
    got = fast.jackknife_interval(slow.mean(values), left_out)
    error = slow.jackknife_error(values, slow.mean)
    assert got.high - got.mean == pytest.approx(1.959964 * error, rel=FLOAT32_SUM)
    assert error == pytest.approx(np.std(values, ddof=1) / math.sqrt(20))
    assert fast.jackknife_interval(2.0, [2.0, 1.0, 4.0], positive=True).low > 0


@pytest.mark.parametrize(
    ("one", "other", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_difference_of_shares_has_the_bounds_of_newcombe_1998_table_ii(
    one: tuple[int, int], other: tuple[int, int], low: float, high: float
) -> None:
    found = fast.share_difference(fast.wilson(*one), fast.wilson(*other))
    assert found.mean == pytest.approx(one[0] / one[1] - other[0] / other[1])
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
