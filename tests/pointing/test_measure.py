"""The numbers of the report, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dipole.pointing.assess import Read, positives_of, readings_of, recovered
from dipole.pointing.clusters import agreement
from dipole.pointing.measure import ceiling, excess, gap_recovered, read_notion, share
from dipole.pointing.record import Settings
from dipole.recognizers.pooled import Features

NAN = float("nan")


def test_precision_recall_f1_and_cells_by_hand() -> None:
    odds = np.array([1.0, 2.0, 3.0, -1.0, -2.0, 0.0])
    truth = np.array([True, True, False, True, False, False])
    found = read_notion("weak", odds, truth, ["a", "a", "b", "b", "b", "a"])
    assert (found.precision, found.recall, found.f1.mean) == pytest.approx((2 / 3, 2 / 3, 2 / 3))
    assert found.auc == pytest.approx(5 / 9)  # pairs of a true and a false one in the right order
    assert found.cells == {"a": (pytest.approx(2 / 3), 3), "b": (pytest.approx(1 / 3), 3)}
    nothing = read_notion("weak", np.full(4, -1.0), np.array([True, False, True, False]), [])
    assert (nothing.precision, nothing.recall, nothing.f1.mean) == (0.0, 0.0, 0.0)


def test_the_interval_speaks_of_files_and_not_of_their_passages() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(30) < 0.5
    odds = np.where(rng.random(30) < 0.8, np.where(truth, 1.0, -1.0), np.where(truth, -1.0, 1.0))
    files = [f"f{i}" for i in range(30)]
    once = read_notion("refined", odds, truth, [], files)
    # forty equal passages of each file tell no more than one
    many = read_notion(
        "refined", np.repeat(odds, 40), np.repeat(truth, 40), [], np.repeat(files, 40).tolist()
    )
    assert many.f1.low == pytest.approx(once.f1.low, abs=1e-9)
    assert many.f1.high == pytest.approx(once.f1.high, abs=1e-9)
    alone = read_notion("refined", np.repeat(odds, 40), np.repeat(truth, 40), [])
    assert alone.f1.high - alone.f1.low < (once.f1.high - once.f1.low) / 3


def test_all_hits_are_no_certainty() -> None:
    truth = np.arange(20) < 10
    found = read_notion("refined", np.where(truth, 1.0, -1.0), truth, [])
    assert (found.f1.mean, found.f1.low, found.f1.high) == (
        1.0,
        pytest.approx(10 / (10 + 1.96**2), 1e-4),
        1.0,
    )


def test_the_gap_is_what_lies_between_the_weak_notion_and_the_ceiling() -> None:
    assert gap_recovered(0.6, 0.9, 1.0) == pytest.approx(0.75)
    assert gap_recovered(0.6, 0.5, 1.0) == pytest.approx(-0.25)
    assert gap_recovered(0.6, 0.9, 0.61) is None


def test_weak_agreement_excess_is_bounded_away_from_0_for_a_filter() -> None:
    """The post's failure condition: what rejects all below a weak-score cut has it however much it writes."""
    rng = np.random.default_rng(0)
    q = rng.random(100_000)  # weak probability of texts that are true
    among_true = share((q > 0.5).tolist())
    faithful = excess(share((rng.permutation(q)[:50_000] > 0.5).tolist()), among_true)
    assert abs(faithful.mean) < 0.01
    assert faithful.low < 0 < faithful.high
    filtered = excess(share((q[q > 0.5] > 0.5).tolist()), among_true)
    assert filtered.mean == pytest.approx(1 - among_true.mean)
    assert filtered.low > 0.49
    assert math.isnan(share([]).mean)


def test_what_is_measured_is_held_out_and_known() -> None:
    truth = np.array([1.0, 0.0, 1.0, 0.0, NAN, 1.0, 0.0, 1.0])
    kept = np.array([True, True, False, False, True, True, False, False])
    q = np.array([0.9, 0.8, 0.1, 0.1, 0.9, 0.2, 0.9, 0.9])
    odds = np.array([1.0, -1.0, -1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    features = Features((0,), torch.randn(8, 1, 4, generator=torch.Generator().manual_seed(0)), (1.0,), 0)
    read = Read([f"d{i}" for i in range(8)], q, np.zeros((8, 0)), features, kept)
    cells = ["x"] * 8
    weak, refined, best = readings_of(read, odds, truth, cells, Settings(width=2))
    assert (weak.precision, weak.recall) == (0.5, 0.5)  # of documents 0, 1 and 5
    assert (refined.precision, refined.recall) == (1.0, 1.0)
    assert refined.cells == {"x": (pytest.approx(2 / 3), 3)}
    assert recovered((weak, refined)) is None
    gap = best.f1.mean - weak.f1.mean
    want = None if gap < 0.02 else (refined.f1.mean - weak.f1.mean) / gap
    assert recovered((weak, refined, best)) == want
    assert readings_of(read, odds, None, [], Settings()) == ()
    assert positives_of(odds, truth).tolist() == (truth == 1).tolist()
    assert positives_of(odds, None).tolist() == (odds > 0).tolist()


def test_the_ceiling_knows_no_truth_of_what_it_is_measured_on_and_reads_the_best_layer() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200) < 0.5
    good = truth[:, None] * 3.0 + rng.normal(size=(200, 3))
    values = torch.from_numpy(np.stack([rng.normal(size=(200, 3)), good], axis=1))
    fit = np.arange(200) < 120
    features = Features((0, 3), values, (1.0, 1.0), 0)
    odds = ceiling(features, fit, ~fit, truth, 3)
    assert ((odds > 0) == truth)[~fit].mean() > 0.9
    alone = Features((3,), values[:, 1:], (1.0,), 0)
    other = np.where(fit, truth, rng.random(200) < 0.5)
    assert np.array_equal(ceiling(alone, fit, ~fit, truth, 3), ceiling(alone, fit, ~fit, other, 3))
    assert np.array_equal(ceiling(alone, fit, ~fit, truth, 3), odds)


def test_agreement_is_0_by_chance_and_1_where_sets_are_the_same() -> None:
    rng = np.random.default_rng(0)
    for size in (0.05, 0.5, 0.9):
        drawn = [rng.random(20_000) < size for _ in range(4)]
        assert agreement(drawn[0], drawn[0]) == pytest.approx(1.0)
        assert all(abs(agreement(drawn[0], other)) < 0.02 for other in drawn[1:])
    assert agreement(np.zeros(5, bool), np.zeros(5, bool)) == 0.0
    assert agreement(np.ones(5, bool), np.ones(5, bool)) == 0.0
    # 3 of 4 shared of two sets of 4 among 10: J = 3 / 5, by chance 0.16 / 0.64
    a, b = np.arange(10) < 4, (np.arange(10) > 0) & (np.arange(10) < 5)
    assert agreement(a, b) == pytest.approx((0.6 - 0.25) / 0.75)
