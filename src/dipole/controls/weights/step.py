"""One optimiser step: a minibatch shared over processes and forwards, its gradients added up and clipped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from dipole.resident import Resident

_BUDGETS = {"cpu": 3 << 27}  # bytes: 384 MiB, above which a CPU gains nothing
_BUDGET = 1 << 30
_KEPT = 20
_LAYERS = 32  # of an architecture that calls them something else


def rows_within(resident: Resident, tokens: int, blocks: int = 0, budget: int = 0) -> int:
    """How many rows of some tokens a forward may have, so that what its backward pass needs fits in a budget.

    About 20 numbers a layer, a token and a unit of width are kept: what the norms, the projections, the
    attention and a feed-forward part of 8/3 to 4 times the width read (after Korthikanti 2022, eq. 1, less
    the attention's own square, which fused kernels do not keep).

    Args:
        resident: The model.
        tokens: Of a row.
        blocks: Blocks that the backward pass goes through; 0 is all.
        budget: Bytes; 0 takes 384 MiB on a CPU, which is busy with far fewer rows than an accelerator, and
            1 GiB elsewhere.
    """
    budget = budget or _BUDGETS.get(resident.device.type, _BUDGET)
    config = resident.model.config.get_text_config()
    layers = blocks or getattr(config, "num_hidden_layers", None) or _LAYERS
    size = torch.finfo(resident.model.dtype).bits // 8
    return max(1, budget // (_KEPT * layers * resident.width * size * max(tokens, 1)))


def micro(rows: int, most: int) -> int:
    """Rows a forward: all that there are, or `most` of them; 0 means no limit."""
    return max(1, min(most or rows, rows))


def parts(minibatch: Sequence[int], most: int, accelerator: Any) -> list[list[int]]:
    """The rows of a minibatch that this process reads, cut into forwards.

    Args:
        minibatch: Global row indices; the same on every process.
        most: Rows a forward at most; 0 means no limit.
        accelerator: The run's accelerator.
    """
    mine = list(minibatch[accelerator.process_index :: accelerator.num_processes])
    size = micro(len(mine), most)
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def shuffled(total: int, seed: int) -> list[int]:
    """The numbers below `total` in an order that the seed alone decides."""
    order: list[int] = torch.randperm(total, generator=torch.Generator().manual_seed(seed)).tolist()
    return order


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of the steps to come."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def take_step(
    optimizer: torch.optim.Optimizer,
    parameters: Sequence[torch.nn.Parameter],
    losses: Iterable[Tensor],
    max_grad_norm: float,
    accelerator: Any,
) -> float:
    """Add up the gradients of some losses, over all processes, and step; the gradient's norm before clipping.

    Sums and not means are what adds up: a loss that is a mean over the tokens of the minibatch comes in parts
    that each are divided by the tokens of all. Nothing moves where the norm is not finite.

    Args:
        optimizer: Of the parameters.
        parameters: All that is trained.
        losses: This process's parts of the loss; each is used up before the next is asked for, so that one
            graph at a time is in memory.
        max_grad_norm: The gradient is clipped to this norm.
        accelerator: The run's accelerator.
    """
    optimizer.zero_grad(set_to_none=True)
    for loss in losses:
        accelerator.backward(loss)
    _add_up_gradients(parameters, accelerator)
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm))
    if math.isfinite(norm):
        optimizer.step()
    return norm


def _add_up_gradients(parameters: Sequence[torch.nn.Parameter], accelerator: Any) -> None:
    """Replace every process's share of the gradient by the sum of them all.

    One message a step, after everything that a process adds to its share, so processes may differ in
    how many forwards they do, and one that a small minibatch left without rows adds nothing.
    """
    if accelerator.num_processes == 1:
        return
    shares = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    total = accelerator.reduce(torch.cat([share.flatten() for share in shares]), "sum")
    for parameter, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = part.view_as(parameter).to(parameter.dtype)
