"""What there is to say about each control in one line."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
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
    return Line(name, control.surface, control.graded, " ".join(first.split()), control.paper)
