"""Steering vectors in the resident model, as hooks on its blocks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.hidden import find_input, input_of, of_width, state_of, with_input, with_state
from dipole.engaging.operators import Edit, Operator, make_edit
from dipole.engaging.stack import Frame
from dipole.engaging.writers import writer_names


class Direction(NamedTuple):
    """What is done in the residual stream.

    Attributes:
        operator: What is done; see `dipole.engaging.operators`.
        layers: Blocks after which it is done; `ablate` does it everywhere.
        vectors: `(len(layers), width)`.
        keep_norm: Rescale each changed state to the norm that it had.
    """

    operator: Operator
    layers: Sequence[int]
    vectors: Tensor
    keep_norm: bool


class _Hooks:
    """Hooks of an engagement; they do nothing while another is nested in it."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame

    def after(self, block: nn.Module, edit: Edit, width: int) -> None:
        """Change what a block returns, which is as wide as the vector."""

        def hook(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            if not self._frame.active:
                return None
            was = find_input(args, kwargs)
            return with_state(output, edit(of_width(state_of(output, was), width)), was)

        self._frame.handles.append(block.register_forward_hook(hook, with_kwargs=True))

    def written(self, module: nn.Module, edit: Edit) -> None:
        """Change what a module inside a block returns."""

        def hook(_module: Any, _args: Any, output: Any) -> Any:
            if not self._frame.active:
                return None
            return with_state(output, edit(state_of(output, flat=True)), flat=True)

        self._frame.handles.append(module.register_forward_hook(hook))

    def before(self, block: nn.Module, edit: Edit, width: int) -> None:
        """Change what a block is called with, which is as wide as the direction."""

        def hook(_module: Any, args: Any, kwargs: Any) -> Any:
            if not self._frame.active:
                return None
            return with_input(args, kwargs, edit(of_width(input_of(args, kwargs), width)))

        self._frame.handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))

    def added(self, block: nn.Module, edit: Edit) -> None:
        """Change what a block adds to its input, as a whole."""

        def hook(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            if not self._frame.active:
                return None
            was = input_of(args, kwargs)
            return with_state(output, was + edit(state_of(output, was) - was), was)

        self._frame.handles.append(block.register_forward_hook(hook, with_kwargs=True))


def put_in(frame: Frame, directions: Sequence[tuple[Direction, float]]) -> None:
    """Have directions with their strengths at work in the model of an engagement, in this order.

    They act at every position, of the prompt too, so the first new token is steered like the others.
    Positions of padding are changed as well, which nothing can see: they are masked for all others.
    """
    hooks, blocks = _Hooks(frame), list(decoder_blocks(frame.model))
    for direction, strength in directions:
        if direction.operator == "ablate":
            _put_in_everywhere(hooks, frame.model, blocks, direction.vectors[0], strength)
            continue
        for layer, row in zip(direction.layers, direction.vectors, strict=True):
            edit = make_edit(direction.operator, row, strength, direction.keep_norm)
            hooks.after(blocks[layer], edit, len(row))


def _put_in_everywhere(
    hooks: _Hooks, model: Any, blocks: Sequence[nn.Module], direction: Tensor, strength: float
) -> None:
    """Take a share of the direction out of everything that is written to the residual stream.

    That is the embeddings and the output of each attention and MLP. The stream is the sum of these, so
    each share is taken once, at any strength, and the result is that of editing the weights (Arditi 2024,
    section 4.1): W ← W - s r rᵀ W.
    """
    edit = make_edit("ablate", direction, strength, False)
    found = [writer_names(model, block) for block in blocks]
    hooks.before(blocks[0], edit, len(direction))
    for block, names in zip(blocks, found, strict=True):
        for name in names:
            hooks.written(block.get_submodule(name), edit)
        if not names:
            hooks.added(block, edit)
