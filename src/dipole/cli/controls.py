"""`dipole controls`: what there is to steer with."""

from __future__ import annotations

import inspect
import shutil
import textwrap
from dataclasses import asdict, dataclass
from typing import Any

from dipole.cli._console import emit, emit_json
from dipole.registry import CONTROLS, resolve
from dipole.shown.terminal import columns


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


@dataclass(frozen=True, kw_only=True)
class Controls:
    """List the controls: where each acts, what it does, its paper.

    Attributes:
        json: Print JSON, one object a line.
    """

    json: bool = False

    def run(self) -> None:
        """Print a line a control."""
        found = lines()
        if self.json:
            for line in found:
                emit_json(asdict(line))
            return
        rows = [(line.name, line.surface, "graded" if line.graded else "on/off") for line in found]
        width = shutil.get_terminal_size((100, 24)).columns
        starts = columns(("control", "surface", "strength"), rows, left=True)
        indent = max(map(len, starts)) + 2
        emit(starts[0].ljust(indent) + "what it does (paper)")
        for start, line in zip(starts[1:], found, strict=True):
            text = f"{line.summary.rstrip('.')} ({line.paper})" if line.paper else line.summary
            wrapped = textwrap.wrap(text, max(30, width - indent))
            emit(start.ljust(indent) + ("\n" + " " * indent).join(wrapped))
