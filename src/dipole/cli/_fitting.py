"""Doing a fit that was asked for on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.cli._concept import dipole_from
from dipole.cli._console import INTERRUPTED, emit, emit_json
from dipole.cli._named import made_control
from dipole.cli._progress import progress, shown_rounds
from dipole.shown.terminal import one_line

if TYPE_CHECKING:
    from dipole.cli.fit import Fit
    from dipole.controls.fit import Fitted


def perform(flags: Fit) -> int:
    """Fit, save and print what was chosen; the exit code."""
    folder = flags.output.folder(flags.out)
    control = made_control(flags.control, flags.fields)
    dipole = None
    if flags.wanted.given or not control.optional_concept:
        # What else a control can't do without, prompts for instance, it says by itself.
        dipole = dipole_from(flags.wanted, flags.source.name(), need_prompts=False)
    lm = flags.source.load()
    from dipole.controls.fit import fit
    from dipole.protocols import Run
    from dipole.runs import keeping

    with progress(flags.output.quiet) as show, keeping(folder, flags.output.overwrite) as keep:
        fitted = keep(fit(lm, dipole, control, Run(on_round=shown_rounds(show, "saving"))))
    if flags.output.json:
        emit_json(_record(fitted, folder))
    else:
        emit(f"{one_line(str(folder))}: {fitted}")
    flags.output.say(f"use it with --intervention {one_line(str(folder))}")
    return INTERRUPTED if fitted.run.interrupted else 0


def _record(fitted: Fitted, folder: Path) -> dict[str, Any]:
    made = fitted.intervention
    return {
        "control": fitted.origin.entries["control"]["name"],
        "kind": made.kind,
        "surface": made.surface,
        "graded": made.graded,
        "out": str(folder),
        "verdict": fitted.verdict or None,
        "stopped": fitted.stopped,
        "selection": fitted.selection,
    }
