"""What there is to say about each control in one line."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from dipole.registry import CONTROLS, resolve


@dataclass(frozen=True)
class Line:
    """One control.

    Attributes:
        name: What `dipole fit` takes.
        surface: Where what it makes acts on an LM.
        graded: Whether that has strengths between off and on, and beyond.
        summary: First line of the control's docstring.
        paper: Short citation; may be empty.
    """

    name: str
    surface: str
    graded: bool
    summary: str
    paper: str


def lines() -> list[Line]:
    """All controls, in the order of the registry; imports every one of them."""
    return [_line(name, resolve(CONTROLS, name)) for name in CONTROLS]


def _line(name: str, control: Any) -> Line:
    first = (inspect.getdoc(control) or "").strip().split("\n\n")[0]
    graded = bool(_made_by(control).graded)
    return Line(name, control.surface, graded, " ".join(first.split()), control.paper)


def _made_by(control: Any) -> Any:
    """The class of intervention that a control makes: what its `fit` says it returns."""
    from dipole.interventions import KINDS

    name = str(inspect.signature(control.fit).return_annotation)
    module = sys.modules[control.__module__]
    if name in vars(module):
        return vars(module)[name]
    # A class that the module imports for type checkers alone.
    target = next(target for target in KINDS.values() if target.endswith(f":{name}"))
    return getattr(import_module(target.split(":")[0]), name)
