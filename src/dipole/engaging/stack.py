"""What is at work in a resident model now: engagements may be nested, and each sees its own things only.

Whoever engages has the model's turn (`dipole.models.turns`). Everything that an engagement changes is
recorded beforehand and put back afterwards, so a failure half-way leaves nothing behind either.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar, Protocol

from torch import nn

from dipole.types import Surface


class Engageable(Protocol):
    """An intervention as an LM holds it; what else it has to offer depends on its surface.

    - `prompt`: `turns(strength)`, what stands in front; see `Resident.prompt_ids`. And `tail(strength)`, ids
      between the prompt and what is written.
    - `weights`, `activations`: `put_in(frame, parts)`, which puts those of its class
      that stand side by side into the model at once.
    - `tokens`, `logits`: `guide(session, strength)`; see `dipole.decoding.guides`.
    - `decode`: `pick(lm, prompts, seeds, max_new_tokens, decoding, batch_size, strength)` and `kl_bound`.
    """

    surface: ClassVar[Surface]
    kind: ClassVar[str]
    graded: ClassVar[bool]

    def save(self, folder: Path) -> None:
        """Write the intervention as safetensors and JSON."""
        ...


class Tree:
    """What PEFT changes about a model: children, parameters, modes, gradient flags and its own attribute."""

    def __init__(self, model: nn.Module) -> None:
        """Record the tree as it is."""
        self._model = weakref.ref(model)
        self._children = [(module, dict(module._modules)) for module in model.modules()]
        self._held = [(module, dict(module._parameters)) for module, _ in self._children]
        self._training = [(module, module.training) for module, _ in self._children]
        self._parameters = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        self._had_config = "peft_config" in vars(model)

    def restore(self) -> None:
        """Make it so again."""
        for module, children in self._children:
            if module._modules != children:
                module._modules.clear()
                module._modules.update(children)
        for module, held in self._held:
            # PEFT takes experts' weights out for a forward, and puts them back behind the others.
            if [*map(id, module._parameters.values())] != [*map(id, held.values())]:
                module._parameters.clear()
                module._parameters.update(held)
        for module, training in self._training:
            module.training = training
        for parameter, requires_grad in self._parameters:
            if parameter.requires_grad != requires_grad:
                parameter.requires_grad_(requires_grad)
        self.drop_config()

    def drop_config(self) -> None:
        """Take PEFT's attribute off the model, unless it was there."""
        model = self._model()
        if model is not None and not self._had_config and "peft_config" in vars(model):
            del model.peft_config


class Frame:
    """One engagement. What is put in by hooks asks `active`, as another may be nested in it."""

    def __init__(self, model: Any, stack: list[Frame]) -> None:
        """Begin one inside those that are open."""
        self.model, self._stack = model, stack
        self.handles: list[Any] = []
        self.ready, self.open = False, True
        # Trees of the model without anything in place, and as the engagement around this one has it.
        self.base: Tree | None = None
        self.outer = Tree(model) if any(frame.base for frame in stack) else None

    @property
    def active(self) -> bool:
        """Whether it is the innermost, and whole."""
        return self.ready and self._stack[-1] is self

    def record(self) -> None:
        """Note the module tree, which is about to be changed."""
        self.base = self.base or Tree(self.model)


# For each resident model the engagements that are now open, outermost first.
_OPEN: weakref.WeakKeyDictionary[nn.Module, list[Frame]] = weakref.WeakKeyDictionary()
IN_MODEL: tuple[Surface, ...] = ("weights", "activations")
"""Surfaces that are in the model, in the order in which they are put there."""


@contextmanager
def engaged(model: Any, parts: Sequence[tuple[Any, float]]) -> Iterator[Any]:
    """The model with exactly these interventions in place for the length of a `with` block.

    Blocks may be nested, such as a judge that reads with the base while a policy is engaged: each sees its
    own parts and none of the outer ones, and the outer ones are back when it ends. An adapter under training,
    which `inject` put there, is no such block: the model without parts is then the model as it stands, and
    engaging an adapter raises.

    Args:
        model: The resident base model.
        parts: Interventions on weights and activations with their strengths, in the order in which they act.
            Leave out those of strength 0, which is bit-exact.

    Yields:
        The model itself.

    Raises:
        UserError: A part does not fit the model, or does not have this strength.
    """
    stack = _OPEN.setdefault(model, [])
    if not stack and not parts:
        yield model
        return
    frame = Frame(model, stack)
    first = next((outer.base for outer in stack if outer.base), None)
    if first is not None:
        first.restore()
        frame.record()
    stack.append(frame)
    try:
        for surface in IN_MODEL:
            found = [part for part in parts if part[0].surface == surface]
            for kind, run in groupby(found, key=lambda part: type(part[0])):
                kind.put_in(frame, list(run))
        frame.ready = True  # not before: where things go is found in the base
        yield model
    finally:
        _close(frame, stack)


def _close(frame: Frame, stack: list[Frame]) -> None:
    for handle in frame.handles:
        handle.remove()
    frame.open = False
    if stack[-1] is not frame:
        return
    if frame.base is not None:
        frame.base.restore()
    outer = None
    # One that was left before what was nested in it is over now.
    while stack and not stack[-1].open:
        outer = stack.pop().outer
    if outer is not None:
        outer.restore()
