"""Operators on hidden states against golden numbers (recipes 1(+)) and their own laws."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dipole.engaging.operators import add, make_edit, norm_kept, piecewise, project
from tolerance import FLOAT32_SUM

H = torch.tensor([1.0, -2.0, 2.0])
V = torch.tensor([0.0, 1.0, 0.0])
GOLDEN_DIGITS = 5e-4  # the recipe gives three decimals


def test_golden_values() -> None:
    assert add(H, V, 3.0).tolist() == [1, 1, 2]
    assert piecewise(H, V, 3.0).tolist() == [1, -5, 2]
    assert project(H, V).tolist() == [1, 0, 2]
    kept = norm_kept(piecewise(H, V, 3.0), H)
    torch.testing.assert_close(kept, torch.tensor([0.548, -2.739, 1.095]), atol=GOLDEN_DIGITS, rtol=0)
    kept = norm_kept(add(H, V, 3.0), H)
    torch.testing.assert_close(kept, torch.tensor([1.225, 1.225, 2.449]), atol=GOLDEN_DIGITS, rtol=0)


def test_piecewise_takes_no_side_and_leaves_what_does_not_lean() -> None:
    h, v = _drawn((5, 4, 8), 0), _drawn((8,), 1)
    torch.testing.assert_close(piecewise(h, -v, 2.0), piecewise(h, v, 2.0), atol=0, rtol=0)
    assert not torch.allclose(add(h, -v, 2.0), add(h, v, 2.0))
    upright = h - (h @ v / (v @ v))[..., None] * v
    at_right_angles = torch.where(torch.eye(8)[0] > 0, 0.0, upright)
    assert torch.equal(piecewise(at_right_angles, torch.eye(8)[0], 2.0), at_right_angles)


def test_projection_is_idempotent_and_scales_with_its_coefficient() -> None:
    h, v = _drawn((5, 4, 8), 0).double(), _drawn((8,), 1).double()
    once = project(h, v)
    torch.testing.assert_close(project(once, v), once, atol=FLOAT32_SUM, rtol=0)
    assert float((once @ v).abs().max()) < FLOAT32_SUM
    for c in (-1.0, 0.25, 2.0):
        torch.testing.assert_close(project(h, v, c) @ v, (1 - c) * (h @ v), atol=FLOAT32_SUM, rtol=0)
    torch.testing.assert_close(project(h, 5 * v), once, atol=FLOAT32_SUM, rtol=0)
    # On a token without the component ablation does nothing, and subtraction does (recipes 1(+)).
    torch.testing.assert_close(project(once, v), once, atol=FLOAT32_SUM, rtol=0)
    assert not torch.allclose(add(once, v, -1.0), once)


def test_a_state_of_norm_0_stays_when_norms_are_kept() -> None:
    zero = torch.zeros(3)
    assert torch.equal(norm_kept(add(zero, V), zero), zero)
    assert torch.equal(norm_kept(zero, H), zero)


def test_each_state_keeps_its_own_norm() -> None:
    h = _drawn((5, 4, 8), 0) * torch.arange(1.0, 6.0)[:, None, None]
    edited = norm_kept(add(h, _drawn((8,), 1), 3.0), h)
    torch.testing.assert_close(edited.norm(dim=-1), h.norm(dim=-1))


def test_a_large_component_is_removed_in_float32_from_states_in_bfloat16() -> None:
    v = _drawn((64,), 1)
    h = (_drawn((3, 64), 0) + 1000 * v / v.norm()).bfloat16()
    want = project(h.double(), v.double())
    got = make_edit("project", v, 1.0, False)(h).double()
    assert float((got - want).abs().max()) <= torch.finfo(torch.bfloat16).eps * float(want.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("operator", ["add", "piecewise", "project", "ablate"])
@pytest.mark.parametrize("keep_norm", [False, True])
def test_an_edit_keeps_the_dtype(operator: str, dtype: torch.dtype, keep_norm: bool) -> None:
    h, v = _drawn((2, 3, 64), 0), _drawn((64,), 1)
    edited = make_edit(operator, v, 0.7, keep_norm)(h.to(dtype))  # type: ignore[arg-type]
    assert edited.dtype == dtype
    wide = {"add": add, "piecewise": piecewise}.get(operator, project)(h.to(dtype).double(), v.double(), 0.7)
    want = norm_kept(wide, h.to(dtype).double()) if keep_norm else wide
    rounding = 4 * torch.finfo(dtype).eps * float(want.abs().max()) + FLOAT32_SUM
    torch.testing.assert_close(edited.double(), want, atol=rounding, rtol=0)


def _drawn(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
