"""Principal components against the whole singular value decomposition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from dipole.pointing.space import Space
from tolerance import MOMENTS, SUBSPACE


def features(n: int = 80, width: int = 40) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixed = torch.randn(n, width, generator=generator, dtype=torch.float64) * 0.7 ** torch.arange(width)
    turned = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64)).Q
    return (mixed @ turned + 5).float()


@pytest.mark.parametrize("shape", [(80, 40), (20, 60)])
def test_it_holds_the_leading_components(shape: tuple[int, int]) -> None:
    x = features(*shape)
    space = Space.fit(x, 6)
    rows = x.double().numpy()
    centred = rows - rows.mean(0)
    left, values, right = np.linalg.svd(centred, full_matrices=False)
    scale = np.sqrt((values[:6] ** 2).sum() / (len(rows) * 6))
    got = space.project(x)
    # Each component is known up to its sign.
    signs = np.sign((space.basis * right[:6].T).sum(0))
    np.testing.assert_allclose(space.basis * signs, right[:6].T, atol=SUBSPACE)
    np.testing.assert_allclose(got * signs, left[:, :6] * values[:6] / scale, atol=SUBSPACE)
    np.testing.assert_allclose(space.basis.T @ space.basis, np.eye(6), atol=MOMENTS)
    assert space.scale == pytest.approx(scale, rel=SUBSPACE)
    assert space.explained == pytest.approx((values[:6] ** 2).sum() / (values**2).sum(), rel=SUBSPACE)
    assert np.sqrt((got**2).mean()) == pytest.approx(1.0)


def test_a_lifted_function_gives_the_same_on_features() -> None:
    x = features()
    space = Space.fit(x, 5)
    weight = np.random.default_rng(0).normal(size=5)
    whole, bias = space.lift(weight, -1.5)
    other = features(30)  # and on documents that the space was not made of
    for documents in (x, other):
        want = space.project(documents) @ weight - 1.5
        got = documents.double().numpy() @ whole.numpy() + bias
        np.testing.assert_allclose(got, want, atol=MOMENTS)


def test_no_more_components_than_documents_or_width() -> None:
    assert Space.fit(features(80, 4), 24).basis.shape == (4, 4)
    assert Space.fit(features(7, 40), 24).basis.shape == (40, 7)
    whole = Space.fit(features(80, 4), 24)
    assert whole.explained == pytest.approx(1.0)


def test_documents_that_are_all_alike_have_no_coordinates() -> None:
    same = Space.fit(torch.ones(30, 6), 3)
    assert (same.scale, same.explained) == (1.0, 0.0)
    np.testing.assert_array_equal(same.project(torch.ones(30, 6)), 0.0)


def test_it_draws_nothing_from_the_generator_of_others() -> None:
    before = torch.random.get_rng_state()
    one, other = (Space.fit(features(), 6) for _ in range(2))
    assert torch.equal(torch.random.get_rng_state(), before)
    np.testing.assert_array_equal(one.basis, other.basis)
