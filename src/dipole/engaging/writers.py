"""Which modules of a decoder block write to the residual stream, found by arithmetic."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from dipole.engaging.hidden import find_state, input_of

Kind = tuple[tuple[str, str], ...]

# For each model what was found in blocks of each kind, told by what modules they hold.
_FOUND: weakref.WeakKeyDictionary[nn.Module, dict[Kind, tuple[str, ...]]] = weakref.WeakKeyDictionary()
_CLOSE = 0.02
_LARGEST = 3


def writer_names(model: Any, block: nn.Module) -> tuple[str, ...]:
    """Names, inside a block, of the modules whose outputs add up to what the block adds to its input.

    Attention and MLP in most architectures, the norms behind them in some (Gemma 2), a linear layer inside
    where a module adds the residual itself (BLOOM). The smallest and outermost set whose sum is right for a
    few tokens is taken; empty where there is none (post-norm blocks, scaled residuals). The answer is kept
    for each model and kind of block: hybrids have several.
    """
    known = _FOUND.setdefault(model, {})
    kind = tuple((name, type(module).__name__) for name, module in block.named_modules())
    if kind not in known:
        known[kind] = _search(model, block)
    return known[kind]


def _search(model: Any, block: nn.Module) -> tuple[str, ...]:
    caught: dict[str, Tensor] = {}
    table = model.get_input_embeddings().weight
    ids = torch.arange(3, 9, device=table.device)[None] % table.shape[0]
    with torch.no_grad(), _watched(block, caught):
        model(input_ids=ids, use_cache=False)
    if "out" not in caught:
        return ()  # it is not run on text alone
    out = caught.pop("out")
    written = out - caught.pop("in")
    names = [name for name, state in caught.items() if state.numel() == written.numel()]
    # Modules come outermost first, so among equals the outermost is taken.
    names.sort(key=lambda name: name.count("."))
    rounding = torch.finfo(table.dtype).eps * float(out.norm())
    for size in range(1, _LARGEST + 1):
        rests = {
            group: float((written - sum(caught[name].reshape(written.shape) for name in group)).norm())
            for group in itertools.combinations(names, size)
        }
        best = min(rests, key=lambda group: rests[group], default=())
        if best and rests[best] <= _CLOSE * float(written.norm()) + rounding:
            return best
    return ()


@contextmanager
def _watched(block: nn.Module, caught: dict[str, Tensor]) -> Iterator[None]:
    def catch(name: str) -> Any:
        def hook(_module: Any, _args: Any, output: Any) -> None:
            state = find_state(output, flat=True)
            if state is not None:
                caught[name] = state.detach().to("cpu", torch.float64, copy=True)  # some blocks add in place

        return hook

    def catch_input(_module: Any, args: Any, kwargs: Any) -> None:
        caught["in"] = input_of(args, kwargs).detach().to("cpu", torch.float64, copy=True)

    handles: list[Any] = []
    try:
        handles.append(block.register_forward_pre_hook(catch_input, with_kwargs=True))
        handles.append(block.register_forward_hook(catch("out")))
        for name, module in block.named_modules():
            # A module without parameters writes nothing of its own, and may serve twice (Phi's dropout).
            if name and any(True for _ in module.parameters()):
                handles.append(module.register_forward_hook(catch(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()
