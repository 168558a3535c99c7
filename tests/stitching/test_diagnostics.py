"""Diagnostics against hand-made cases and slow routes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dipole.stitching.diagnostics import (
    cosine_against_null,
    effective_rank,
    linear_cka,
    random_map,
    share_inside,
    shuffled_labels,
)
from dipole.stitching.ridge import Map
from tolerance import MOMENTS


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_effective_rank_counts_equal_singular_values() -> None:
    turn = torch.linalg.qr(noise(6, 6)).Q
    for k in (1, 3, 6):
        diagonal = torch.diag(torch.tensor([2.0] * k + [0.0] * (6 - k), dtype=torch.float64))
        assert effective_rank(turn @ diagonal) == pytest.approx(k, rel=MOMENTS)
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(16 / 10, rel=MOMENTS)
    assert effective_rank(torch.zeros(3, 3)) == 0.0


def test_share_inside_is_of_the_input_side() -> None:
    """Row convention `v A`: the left singular vectors."""
    matrix = torch.zeros(3, 2, dtype=torch.float64)
    matrix[0, 1], matrix[1, 0] = 5.0, 2.0  # input 0 comes through best, then input 1, input 2 not at all
    assert share_inside(torch.tensor([1.0, 0.0, 0.0]), matrix, 1) == pytest.approx(1.0, rel=MOMENTS)
    assert share_inside(torch.tensor([3.0, 4.0, 0.0]), matrix, 1) == pytest.approx(9 / 25, rel=MOMENTS)
    assert share_inside(torch.tensor([0.0, 3.0, 4.0]), matrix, 2) == pytest.approx(9 / 25, rel=MOMENTS)


def test_cka_by_gram_matrices_and_invariances() -> None:
    x, y = noise(50, 5), noise(50, 8, seed=1)
    grams = []
    for z in (x, y):
        centred = (z - z.mean(0)).numpy()
        grams.append(centred @ centred.T)
    wanted = (grams[0] * grams[1]).sum() / np.sqrt((grams[0] ** 2).sum() * (grams[1] ** 2).sum())
    assert linear_cka(x, y) == pytest.approx(wanted, rel=MOMENTS)
    turn = torch.linalg.qr(noise(5, 5, seed=2)).Q
    assert linear_cka(x, 3.0 * x @ turn + 1.0) == pytest.approx(1.0, rel=MOMENTS)
    assert math.isnan(linear_cka(x, torch.ones(50, 3)))


def test_cosine_against_the_null_of_the_same_map() -> None:
    matrix, vector = noise(20, 30), noise(20, seed=3)
    stitch = Map(matrix, noise(30, seed=4))
    own = cosine_against_null(stitch, vector, vector @ matrix)
    assert own.cosine == pytest.approx(1.0, rel=MOMENTS)
    assert own.share_below == 1.0
    assert abs(own.null_mean) < 0.05
    assert 0.1 < own.null_deviation < 0.5
    unrelated = cosine_against_null(stitch, vector, noise(30, seed=5))
    assert abs(unrelated.cosine) < 4 * unrelated.null_deviation
    # A map into one direction makes every cosine 1 or -1: the null says so, the cosine alone would not.
    narrow = Map(torch.outer(noise(20), noise(30, seed=6)), torch.zeros(30))
    assert cosine_against_null(narrow, vector, noise(30, seed=6)).null_deviation > 0.9


def test_nulls_keep_what_they_should() -> None:
    stitch = Map(noise(10, 14), noise(14, seed=1), 0.1)
    drawn = random_map(stitch, seed=3)
    assert float(drawn.matrix.norm()) == pytest.approx(float(stitch.matrix.norm()), rel=MOMENTS)
    cosine = float((drawn.matrix * stitch.matrix).sum() / stitch.matrix.norm() ** 2)
    assert abs(cosine) < 0.3


def test_half_of_the_labels_are_turned_round() -> None:
    claim, against = torch.ones(10, 2), torch.zeros(10, 2)
    assert float(shuffled_labels(claim, against).abs().max()) == 0.0
    odd = shuffled_labels(torch.ones(5, 1), torch.zeros(5, 1))
    assert float(odd) == pytest.approx(1 / 5)
    apart = noise(10, 3)
    assert not torch.equal(shuffled_labels(apart, 0 * apart, 0), shuffled_labels(apart, 0 * apart, 1))
