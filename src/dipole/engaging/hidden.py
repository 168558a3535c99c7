"""The hidden states in what a module takes and gives, told by what they are and not by where they stand."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from dipole.types import UserError


def state_of(output: Any, like: Tensor | None = None, flat: bool = False) -> Tensor:
    """The hidden states `(batch, time, width)` in what a module returns: a tensor, tuple, list or mapping.

    Args:
        output: What the module returned.
        like: What it was called with. Among several tensors of three dimensions that of this shape is
            meant, else the first.
        flat: Whether another shape will do, as some modules lay batch and time into one dimension.

    Raises:
        UserError: There is no such tensor.
    """
    found = find_state(output, like, flat)
    if found is None:
        raise UserError(
            "A block of this model returns no hidden states of the shape (batch, time, width), which "
            "controls and readers of activations need; use a control of another surface, such as contrast."
        )
    return found


def find_state(output: Any, like: Tensor | None = None, flat: bool = False) -> Tensor | None:
    """The same as `state_of`, None where there are no such states."""
    place = _place(output, like, flat)
    if place is None:
        return None
    state: Tensor = output if place == () else output[place[0]]
    return state


def of_width(state: Tensor, width: int) -> Tensor:
    """The same states.

    Raises:
        UserError: They are not as wide as the stream is said to be: some families carry several at once.
    """
    if state.shape[-1] != width:
        raise UserError(
            f"The blocks of this model return states of width {state.shape[-1]}, where its residual stream "
            f"has {width}, so they are not the stream that controls of activations need; use a control of "
            "another surface, such as contrast."
        )
    return state


def with_state(output: Any, state: Tensor, like: Tensor | None = None, flat: bool = False) -> Any:
    """What a module returned, with other hidden states in the place of those that `state_of` finds."""
    place = _place(output, like, flat)
    if not place:
        return state
    if isinstance(output, tuple):
        changed = (*output[: place[0]], state, *output[place[0] + 1 :])
        return type(output)(*changed) if hasattr(output, "_fields") else changed
    copied = copy.copy(output)
    copied[place[0]] = state
    return copied


def input_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The hidden states that a block is called with.

    Raises:
        UserError: There are none of the shape (batch, time, width).
    """
    found = find_input(args, kwargs)
    if found is None:
        raise UserError(
            "A block of this model takes no hidden states of the shape (batch, time, width), which this "
            "control of activations needs; use a control of another surface, such as contrast."
        )
    return found


def find_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor | None:
    """The same as `input_of`, None where there are no such states."""
    place = _input_place(args, kwargs)
    if place is None:
        return None
    state: Tensor = args[place] if isinstance(place, int) else kwargs[place]
    return state


def with_input(args: tuple[Any, ...], kwargs: dict[str, Any], state: Tensor) -> tuple[Any, dict[str, Any]]:
    """What a block is called with, with other hidden states in the place of those that `input_of` finds."""
    place = _input_place(args, kwargs)
    if isinstance(place, int):
        return (*args[:place], state, *args[place + 1 :]), kwargs
    return args, {**kwargs, str(place): state}


def _input_place(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int | str | None:
    if _is_state(kwargs.get("hidden_states")):
        return "hidden_states"
    given: list[tuple[int | str, Any]] = [*enumerate(args), *kwargs.items()]
    return next((place for place, value in given if _is_state(value)), None)


def _is_state(value: Any, flat: bool = False) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and (flat or value.ndim == 3)


def _place(output: Any, like: Tensor | None, flat: bool) -> tuple[Any, ...] | None:
    """Where the states are: `()` the output itself, `(index or key,)` inside it, None nowhere."""
    if isinstance(output, Tensor):
        return () if _is_state(output, flat) else None
    held = dict(output) if isinstance(output, Mapping) else dict(enumerate(output or ()))
    places = [key for key, value in held.items() if _is_state(value)]
    same = [key for key in places if like is not None and held[key].shape == like.shape]
    other = [key for key, value in held.items() if flat and _is_state(value, flat)]
    return next(((key,) for key in (*same, *places, *other)), None)


@contextmanager
def caught_states(blocks: Sequence[nn.Module], caught: dict[int, Tensor]) -> Iterator[None]:
    """Keep the hidden states that blocks return, by their place among those that are given."""

    def hook(index: int) -> Any:
        def keep(_module: Any, args: Any, kwargs: Any, output: Any) -> None:
            caught[index] = state_of(output, find_input(args, kwargs))

        return keep

    handles = [block.register_forward_hook(hook(k), with_kwargs=True) for k, block in enumerate(blocks)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
