"""Doing a fit that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.cli import INTERRUPTED
from dipole.cli._console import emit, emit_json, one_line, tell
from dipole.cli._control import made_control
from dipole.cli._flags import load_model, source_of
from dipole.cli._output import output_folder
from dipole.cli._progress import progress
from dipole.cli._tables import columns
from dipole.cli._wordings import dipole_from

if TYPE_CHECKING:
    from dipole.fit import Fitted


def perform(flags: Mapping[str, Any]) -> int:
    """Fit, save and print what was chosen; the exit code."""
    folder = output_folder(flags["out"], flags["overwrite"])
    control = made_control(flags["control"], flags["fields"])
    dipole = _dipole(flags, control)
    lm = load_model(*source_of(flags))
    from dipole.fit import fit

    with progress(flags["quiet"], "saving") as on_round:
        fitted = fit(lm, dipole, control, folder, overwrite=flags["overwrite"], on_round=on_round)
    if flags["json"]:
        emit_json(_record(fitted, folder))
    else:
        _print(fitted, folder)
    if not flags["quiet"]:
        tell(f"dipole: use it with --intervention {one_line(str(folder))}")
    return INTERRUPTED if fitted.interrupted else 0


def _dipole(flags: Mapping[str, Any], control: Any) -> Any:
    """The dipole of the flags; None for a control that can do without, where they have none."""
    wanted = any(flags[name] is not None for name in ("dipole", "claim", "against"))
    # What else a control can't do without, prompts for instance, it says by itself.
    return dipole_from(flags, need_prompts=False) if wanted or not control.optional_concept else None


def _record(fitted: Fitted, folder: Path) -> dict[str, Any]:
    made = fitted.intervention
    return {
        "control": fitted.manifest["control"]["name"],
        "kind": made.kind,
        "surface": made.surface,
        "graded": made.graded,
        "out": str(folder),
        "verdict": fitted.verdict or None,
        "stopped": fitted.stopped,
        "selection": fitted.selection,
    }


def _print(fitted: Fitted, folder: Path) -> None:
    from dipole.report.fitted import rows_of

    made = fitted.intervention
    dial = "at any strength" if made.graded else "on or off"
    emit(f"{one_line(str(folder))}: {made.kind}, on the {made.surface} surface, {dial}")
    if fitted.selection is not None:
        header, rows = rows_of(fitted.selection)
        left = len(fitted.selection["trials"]) - len(rows)
        more = [f"… and {left} more in dipole.json"] if left else []
        emit("\n".join(["", *columns(header, rows), *more, ""]))
    for sentence in (fitted.stopped, fitted.verdict):
        if sentence:
            emit(sentence)
