"""`dipole controls`: what there is to steer with."""

from __future__ import annotations

import shutil
import textwrap
from dataclasses import asdict, dataclass

from dipole.cli._console import emit, emit_json
from dipole.shown.terminal import columns


@dataclass(frozen=True, kw_only=True)
class Controls:
    """List the controls: where each acts, what it does, its paper.

    Attributes:
        json: Print JSON, one object a line.
    """

    json: bool = False

    def run(self) -> None:
        """Print a line a control."""
        from dipole.cli._controls import lines

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
