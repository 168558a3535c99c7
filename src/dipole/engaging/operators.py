"""What a steering vector does to a hidden state: pure functions of tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

Operator = Literal["add", "piecewise", "project", "ablate"]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
Edit = Callable[[Tensor], Tensor]


def add(h: Tensor, v: Tensor, c: float = 1.0) -> Tensor:
    """`h + c v` (Turner 2023; Panickssery 2023): every token is moved by the same amount.

    Args:
        h: `(..., width)` hidden states.
        v: `(width,)`.
        c: Coefficient; a negative one moves the other way.
    """
    return h + c * v


def piecewise(h: Tensor, v: Tensor, c: float = 1.0) -> Tensor:
    """`h + c sign(h·v) v` (Zou 2023): each token is moved the way it leans already.

    A token at a right angle to `v` stays, and `-v` does the same as `v`. A negative `c` moves each token
    against its own lean.
    """
    return h + c * torch.sign(h @ v)[..., None] * v


def project(h: Tensor, v: Tensor, c: float = 1.0) -> Tensor:
    """`h - c (h·v) v / |v|²`: takes c times the component along `v` out (Zou 2023; Arditi 2024).

    1 removes it, 2 mirrors the state, a negative `c` makes the component larger.
    """
    unit = v / v.norm()
    return _without(h, unit, c * unit)


def _without(h: Tensor, unit: Tensor, scaled: Tensor) -> Tensor:
    """`h - (h·scaled) unit`, in two kernels: it runs at every module that writes to the stream."""
    return torch.addcmul(h, (h @ scaled)[..., None], unit, value=-1)


def norm_kept(edited: Tensor, h: Tensor) -> Tensor:
    """`edited`, rescaled to the norm that each state of `h` has; a state of norm 0 stays."""
    norm = edited.norm(dim=-1, keepdim=True)
    kept: Tensor = edited * (h.norm(dim=-1, keepdim=True) / norm.where(norm > 0, 1.0))
    return kept


_MATHS: dict[Operator, Callable[[Tensor, Tensor, float], Tensor]] = {
    "add": add,
    "piecewise": piecewise,
    "project": project,
    "ablate": project,
}


def make_edit(operator: Operator, vector: Tensor, strength: float, keep_norm: bool) -> Edit:
    """The operator with its vector and strength, for hidden states of any dtype on any device.

    Dot products and norms are taken in float32 at least, a plain addition in the dtype of the states.
    What is computed from the vector alone is computed when it first meets a device and dtype.
    """
    ready: dict[tuple[torch.device, torch.dtype], Edit] = {}

    def edit(h: Tensor) -> Tensor:
        key = (h.device, h.dtype)
        if key not in ready:
            ready[key] = _edit_for(*key, operator, vector, strength, keep_norm)
        return ready[key](h)

    return edit


def _edit_for(
    device: torch.device,
    dtype: torch.dtype,
    operator: Operator,
    vector: Tensor,
    strength: float,
    keep_norm: bool,
) -> Edit:
    if operator == "add" and not keep_norm:
        shift = (vector * strength).to(device, dtype)
        return lambda h: h + shift
    wide = torch.promote_types(dtype, torch.float32)
    v = vector.to(device, wide)
    if operator in ("project", "ablate") and not keep_norm:
        unit = v / v.norm()
        scaled = strength * unit
        return lambda h: _without(h.to(wide), unit, scaled).to(dtype)
    maths = _MATHS[operator]

    def edit(h: Tensor) -> Tensor:
        wide_h = h.to(wide)
        edited = maths(wide_h, v, strength)
        return (norm_kept(edited, wide_h) if keep_norm else edited).to(dtype)

    return edit
