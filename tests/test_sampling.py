"""Truncation and drawing against plain Python."""

from __future__ import annotations

import math

import pytest
import torch

from dipole.decoding.distribution import Decoding
from dipole.decoding.sampling import draw
from dipole.types import UserError
from reference.generation import inverse_cdf, warped
from tolerance import FLOAT32_SUM

LOGITS = torch.randn(6, 12, generator=torch.Generator().manual_seed(0)) * 2


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    ("top_k", "top_p"), [(0, 1.0), (3, 1.0), (0, 0.6), (5, 0.9), (1, 1.0), (0, 1e-9), (99, 1.0)]
)
def test_warp_equals_plain_python(temperature: float, top_k: int, top_p: float) -> None:
    got = Decoding(temperature, top_k, top_p).warp(LOGITS).exp()
    want = torch.tensor([warped(row.tolist(), temperature, top_k, top_p) for row in LOGITS])
    assert torch.equal(got > 0, want > 0)
    torch.testing.assert_close(got, want, atol=FLOAT32_SUM, rtol=0)


def test_a_tiny_temperature_does_not_overflow() -> None:
    for temperature in (1e-5, 1e-30, 5e-324):
        assert torch.equal(Decoding(temperature=temperature).warp(LOGITS).argmax(-1), LOGITS.argmax(-1))
        assert not Decoding(temperature=temperature).warp(LOGITS * 1e30).isnan().any()


@pytest.mark.parametrize(
    "kwargs",
    [{"temperature": -1}, {"temperature": math.nan}, {"temperature": math.inf}, {"top_k": -1}, {"top_p": 0}],
)
def test_meaningless_values_are_refused(kwargs: dict[str, float]) -> None:
    with pytest.raises(UserError, match="must be"):
        Decoding(**kwargs)


def test_draw_equals_plain_python() -> None:
    uniforms = torch.rand(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logprobs = LOGITS.log_softmax(-1)
    want = [
        inverse_cdf(p.tolist(), u) for p, u in zip(logprobs.double().exp(), uniforms.tolist(), strict=True)
    ]
    assert draw(logprobs, uniforms).tolist() == want


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1.0 - 2**-53])
def test_what_has_no_probability_is_never_drawn(uniform: float) -> None:
    impossible = torch.tensor([[-torch.inf, 0.1, -torch.inf, 0.3, -torch.inf, -torch.inf]]).log_softmax(-1)
    for scale in (1.0, 0.999999):
        token = draw(impossible + math.log(scale), torch.tensor([uniform], dtype=torch.float64))
        assert token.item() in (1, 3)


def test_draws_follow_the_distribution() -> None:
    logprobs = LOGITS[0].log_softmax(-1)
    n = 20_000
    uniforms = torch.rand(n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    counts = draw(logprobs.expand(n, -1), uniforms).bincount(minlength=12).double()
    expected = logprobs.double().exp() * n
    chi_square = float(((counts - expected) ** 2 / expected).sum())
    assert chi_square < 31.3  # 11 degrees of freedom: exceeded once in a thousand seeds


def test_nan_is_an_error_not_a_token() -> None:
    with pytest.raises(UserError, match="NaN"):
        draw(torch.tensor([[0.0, torch.nan]]), torch.zeros(1, dtype=torch.float64))
