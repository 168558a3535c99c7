"""Put steering vectors into the resident model for the length of a call, and take them out again."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from dipole.engaging.operators import Edit, make_edit
from dipole.engaging.writers import writer_names
from dipole.models.blocks import decoder_blocks
from dipole.models.hidden import find_input, input_of, of_width, state_of, with_input, with_state

if TYPE_CHECKING:
    from dipole.interventions.activations import SteeringVector


class _Frame:
    """The hooks of one engagement; they do nothing while another is nested in it."""

    def __init__(self, stack: list[_Frame]) -> None:
        self._stack, self.ready = stack, False
        self.handles: list[Any] = []

    @property
    def active(self) -> bool:
        """Whether it is the innermost, and whole."""
        return self.ready and self._stack[-1] is self

    def after(self, block: nn.Module, edit: Edit, width: int) -> None:
        """Change what a block returns, which is as wide as the vector."""

        def hook(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            if not self.active:
                return None
            was = find_input(args, kwargs)
            return with_state(output, edit(of_width(state_of(output, was), width)), was)

        self.handles.append(block.register_forward_hook(hook, with_kwargs=True))

    def written(self, module: nn.Module, edit: Edit) -> None:
        """Change what a module inside a block returns."""

        def hook(_module: Any, _args: Any, output: Any) -> Any:
            if not self.active:
                return None
            return with_state(output, edit(state_of(output, flat=True)), flat=True)

        self.handles.append(module.register_forward_hook(hook))

    def before(self, block: nn.Module, edit: Edit, width: int) -> None:
        """Change what a block is called with, which is as wide as the direction."""

        def hook(_module: Any, args: Any, kwargs: Any) -> Any:
            if not self.active:
                return None
            return with_input(args, kwargs, edit(of_width(input_of(args, kwargs), width)))

        self.handles.append(block.register_forward_pre_hook(hook, with_kwargs=True))

    def added(self, block: nn.Module, edit: Edit) -> None:
        """Change what a block adds to its input, as a whole."""

        def hook(_module: Any, args: Any, kwargs: Any, output: Any) -> Any:
            if not self.active:
                return None
            was = input_of(args, kwargs)
            return with_state(output, was + edit(state_of(output, was) - was), was)

        self.handles.append(block.register_forward_hook(hook, with_kwargs=True))


# For each resident model the engagements that are now open, outermost first.
_OPEN: weakref.WeakKeyDictionary[nn.Module, list[_Frame]] = weakref.WeakKeyDictionary()


@contextmanager
def engaged_vectors(model: Any, vectors: Sequence[tuple[SteeringVector, float]]) -> Iterator[None]:
    """Have exactly these vectors at work in a model for the length of a `with` block.

    They act at every position, of the prompt too, so the first new token is steered like the others.
    Positions of padding are changed as well, which nothing can see: they are masked for all others.

    Blocks may be nested: each sees its own vectors only, and those of the outer one are back when it ends.

    Args:
        model: The resident model, with adapters in place.
        vectors: Vectors with their strengths, in the order in which they act.
    """
    stack = _OPEN.setdefault(model, [])
    if not stack and not vectors:
        yield
        return
    frame = _Frame(stack)
    stack.append(frame)
    try:
        for vector, strength in vectors:
            _put_in(frame, model, vector, strength)
        frame.ready = True  # not before: what writes to the stream is found in the base
        yield
    finally:
        for handle in frame.handles:
            handle.remove()
        stack.remove(frame)


def _put_in(frame: _Frame, model: Any, vector: SteeringVector, strength: float) -> None:
    blocks = list(decoder_blocks(model))
    if vector.operator == "ablate":
        _put_in_everywhere(frame, model, blocks, vector.vectors[0], strength)
        return
    for layer, row in zip(vector.layers, vector.vectors, strict=True):
        frame.after(blocks[layer], make_edit(vector.operator, row, strength, vector.keep_norm), len(row))


def _put_in_everywhere(
    frame: _Frame, model: Any, blocks: Sequence[nn.Module], direction: Tensor, strength: float
) -> None:
    """Take a share of the direction out of everything that is written to the residual stream.

    That is the embeddings and the output of each attention and MLP. The stream is the sum of these, so
    each share is taken once, at any strength, and the result is that of editing the weights (Arditi 2024,
    section 4.1): W ← W - s r rᵀ W.
    """
    edit = make_edit("ablate", direction, strength, False)
    found = [writer_names(model, block) for block in blocks]
    frame.before(blocks[0], edit, len(direction))
    for block, names in zip(blocks, found, strict=True):
        for name in names:
            frame.written(block.get_submodule(name), edit)
        if not names:
            frame.added(block, edit)
