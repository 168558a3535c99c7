"""The confidence loss and the probe that is trained with it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dipole.pointing.noisy import _cut, confidence_loss, noisy_label_probe
from tolerance import LOSS, MOMENTS


def odds(p: float) -> Tensor:
    return torch.tensor([math.log(p / (1 - p))], dtype=torch.float64)


def entropy(f: float, q: float) -> float:
    return -q * math.log(f) - (1 - q) * math.log(1 - f)


def some(n: int = 101) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, generator=generator, dtype=torch.float64),
        torch.rand(n, generator=generator, dtype=torch.float64) ** 2,
    )


@pytest.mark.parametrize(("threshold", "want"), [(0.5, 0.611), (0.2, 1.035)])
def test_golden_numbers(threshold: float, want: float) -> None:
    got = float(confidence_loss(odds(0.3), torch.tensor([0.6], dtype=torch.float64), 0.5, threshold))
    assert got == pytest.approx(want, abs=5e-4)
    hard = 1.0 if threshold < 0.3 else 0.0
    assert got == pytest.approx(entropy(0.3, 0.6) / 2 + entropy(0.3, hard) / 2, abs=LOSS)


def test_without_confidence_it_is_plain_cross_entropy() -> None:
    f, q = some()
    want = sum(entropy(1 / (1 + math.exp(-a)), b) for a, b in zip(f.tolist(), q.tolist(), strict=True))
    assert float(confidence_loss(f, q, 0.0)) == pytest.approx(want / len(f), abs=LOSS)


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_hardened_labels_are_constants_to_the_gradient(threshold: float | None) -> None:
    f, q = some()
    f.requires_grad_()
    loss = confidence_loss(f, q, 0.3, threshold)
    (got,) = torch.autograd.grad(loss, f)
    ranks = f.detach().sort(descending=True).values
    cut = float(ranks[round(float(q.sum()))]) if threshold is None else math.log(0.4 / 0.6)
    hard = torch.tensor([1.0 if value > cut else 0.0 for value in f.tolist()], dtype=torch.float64)
    p = f.detach().sigmoid()
    want = (0.7 * (p - q) + 0.3 * (p - hard)) / len(f)
    torch.testing.assert_close(got, want, atol=MOMENTS, rtol=0)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.5, 0.97, 1.0])
def test_as_many_are_hardened_as_the_weak_labels_have_mass(rate: float) -> None:
    f, _ = some(200)
    q = torch.full((200,), rate, dtype=torch.float64)
    hardened = float((f > _cut(f, q, None)).double().mean())
    assert hardened == pytest.approx(rate, abs=1 / 200)


def noisy_world(n: int = 1500) -> tuple[Tensor, Tensor, Tensor]:
    """Features, weak labels that miss many and err at random, and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.random(n) < 0.4
    features = rng.normal(size=(n, 6)) / 2
    features[:, 0] += np.where(truth, 1.0, -1.0)
    weak = truth ^ (rng.random(n) < np.where(truth, 0.35, 0.05))
    return torch.from_numpy(features), torch.from_numpy(weak).double(), torch.from_numpy(truth)


def test_without_confidence_the_probe_is_at_the_minimum() -> None:
    x, q, _ = noisy_world(300)
    weight, bias = noisy_label_probe(x, q, a_max=0.0)
    left = (x @ weight + bias).sigmoid() - q
    assert float((x.T @ left / len(x) + 1e-2 * weight).abs().max()) < 1e-4
    assert float(left.mean().abs()) < 1e-4


def test_the_probe_beats_its_labels_and_more_so_where_it_believes_itself() -> None:
    x, q, truth = noisy_world()
    accuracy, size, rate = [float((q.bool() == truth).double().mean())], [0.0], float(q.mean())
    for a in (0.0, 0.5):
        weight, bias = noisy_label_probe(x, q, a_max=a)
        f = x @ weight + bias
        accuracy.append(float(((f > 0) == truth).double().mean()))
        size.append(float(weight.norm()))
        assert float(f.sigmoid().mean()) == pytest.approx(rate, abs=1e-3)  # the hardened labels keep it too
    assert accuracy[0] + 0.03 < accuracy[1] < accuracy[2] - 0.01
    assert size[2] > 1.3 * size[1]  # surer than labels that miss a third


def test_the_probe_is_the_same_every_time() -> None:
    x, q, _ = noisy_world(100)
    for one, other in zip(noisy_label_probe(x, q), noisy_label_probe(x, q), strict=True):
        assert torch.equal(one, other)
