"""Fit any control to a concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dipole.concepts import Avoid, Dipole
from dipole.controls.said import rows_of, selection_of, verdict_of
from dipole.files import to_plain
from dipole.origin import Origin, fit_origin, now
from dipole.progress import Progress, rounds, silent
from dipole.protocols import LM, Control, Intervention, Run
from dipole.shown.terminal import columns


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit gave.

    Attributes:
        intervention: The fitted artefact.
        dipole: What was wanted; None without a concept, or with one of another kind.
        run: How training went; as it began for a control that trains nothing.
        origin: What makes it again.
    """

    intervention: Intervention
    dipole: Dipole | None
    run: Run
    origin: Origin

    @property
    def selection(self) -> dict[str, Any] | None:
        """Every candidate that was tried, and which was taken; None where nothing was chosen."""
        facts = getattr(self.intervention, "facts", None)  # an intervention of others may have none
        return selection_of({"facts": to_plain(facts)})

    @property
    def verdict(self) -> str:
        """What the chosen candidate does on the prompts that it was chosen by; empty without a selection."""
        selection = self.selection
        return verdict_of(selection) if selection else ""

    @property
    def stopped(self) -> str | None:
        """Why training ended before its last round; None if it did not, or nothing was trained."""
        return _stopped(self.run)

    def __str__(self) -> str:
        """What was made, what it was chosen among, and what it does."""
        made, selection = self.intervention, self.selection
        dial = "at any strength" if made.graded else "on or off"
        lines = [f"{made.kind}, on the {made.surface} surface, {dial}"]
        if selection is not None:
            header, rows = rows_of(selection)
            left = len(selection["trials"]) - len(rows)
            more = [f"… and {left} more in dipole.json"] if left else []
            lines += ["", *columns(header, rows), *more, ""]
        return "\n".join([*lines, *filter(None, (*self.run.warnings, self.stopped, self.verdict))])

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        made = self.intervention
        return {
            "control": self.origin.entries["control"]["name"],
            "kind": made.kind,
            "surface": made.surface,
            "graded": made.graded,
            "verdict": self.verdict or None,
            "stopped": self.stopped,
            "selection": self.selection,
        }


def fit(lm: LM, concept: Any, control: Control, progress: Progress = silent) -> Fitted:
    """Fit a control.

    A control that trains weights is trained without the measurements of `inoculate`.

    Args:
        lm: The model to steer; it stays as it was.
        concept: What is wanted; None for a control that takes no concept.
        control: How to fit.
        progress: Told of each round of training.

    Raises:
        UserError: Bad input.
    """
    started, run = now(), Run(on_round=rounds(progress))
    intervention = control.fit(lm, concept, run)
    dipole = (
        concept.dipole if isinstance(concept, Avoid) else concept if isinstance(concept, Dipole) else None
    )
    made_by = fit_origin(
        control, {} if concept is None else concept.to_dict(), started, lm.resident,
        seed=getattr(control, "seed", 0),  # not every control draws
        prompts=dipole.prompts if dipole else (), held_out=dipole.held_out if dipole else (),
        verb="fit", stopped=_stopped(run), warnings=list(run.warnings),
    )  # fmt: skip
    return Fitted(intervention, dipole, run, made_by)


def _stopped(run: Run) -> str | None:
    if run.stopped and run.interrupted:  # there is nothing here that --resume could continue
        return f"{run.stopped.partition(';')[0]}; what was learned by then is kept."
    return run.stopped
