"""Fit any control to a concept, and keep what it makes in one folder that interventions are loaded from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.concepts import Dipole
from dipole.files import (
    HISTORY,
    MANIFEST,
    is_main_process,
    staged,
    to_plain,
    write_manifest,
    write_text_atomic,
)
from dipole.files.paths import given_path
from dipole.files.reader import read_json
from dipole.interventions.folder import read_meta
from dipole.progress import Progress, rounds, silent
from dipole.protocols import Control, Intervention, Run
from dipole.report.fitted import fitted_card, rows_of, selection_of, verdict_of
from dipole.shown.terminal import columns

if TYPE_CHECKING:
    from dipole.protocols import LM

CARD = "README.md"


@dataclass(frozen=True)
class Fitted:
    """What a fit leaves behind.

    Attributes:
        intervention: The fitted artefact, as it is loaded from the folder.
        manifest: What reproduces it.
        selection: Every candidate that was tried and which was taken, as plain data; None for a control that
            chooses nothing.
        verdict: What the chosen one does on the prompts that it was chosen by, in a sentence; empty without a
            selection.
        stopped: Why training ended before its last round; None if it did not, or nothing was trained.
        interrupted: Whether the user ended it.
    """

    intervention: Intervention
    manifest: Mapping[str, Any]
    selection: Mapping[str, Any] | None = None
    verdict: str = ""
    stopped: str | None = None
    interrupted: bool = False

    def __str__(self) -> str:
        """What was made, what was tried for it, and what it does."""
        made = self.intervention
        dial = "at any strength" if made.graded else "on or off"
        lines = [f"{made.kind}, on the {made.surface} surface, {dial}"]
        if self.selection is not None:
            header, rows = rows_of(self.selection)
            left = len(self.selection["trials"]) - len(rows)
            more = [f"… and {left} more in dipole.json"] if left else []
            lines += ["", *columns(header, rows), *more, ""]
        return "\n".join([*lines, *filter(None, (self.stopped, self.verdict))])

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        made = self.intervention
        return {
            "control": self.manifest["control"]["name"],
            "kind": made.kind,
            "surface": made.surface,
            "graded": made.graded,
            "out": self.manifest["out"],
            "verdict": self.verdict or None,
            "stopped": self.stopped,
            "selection": self.selection,
        }


def fit(
    lm: LM,
    concept: Any,
    control: Control,
    out: Path | str,
    *,
    overwrite: bool = False,
    command: Sequence[str] | None = None,
    progress: Progress = silent,
) -> Fitted:
    """Fit a control and save its intervention, with a manifest, the dipole and a model card.

    Everything is written beside `out` and put in place at the end, so `out` never holds half of it, and
    what it held before stays until then. A control that trains weights is trained without the checkpoints
    and the measurements of `inoculate`.

    Args:
        lm: The model to steer; it stays as it was.
        concept: What is wanted; None for a control that takes no concept.
        control: How to fit.
        out: Folder for the intervention.
        overwrite: Replace what dipole made there before.
        command: Command line for the manifest; that of this process by default.
        progress: Told of each round of training.

    Raises:
        UserError: Bad input, or a folder that can't be used.
    """
    from dipole.interventions import load_intervention

    folder, started = given_path(out, "The output folder"), datetime.now(UTC)
    run = Run(on_round=rounds(progress))
    with staged(folder, overwrite) as made:
        fitted = control.fit(lm, concept, run)
        if run.history:
            progress("saving")
        fitted.save(made)
        meta = read_meta(made)
        _write_papers(made, meta, lm, concept, control, folder, started, command, run)
    if not is_main_process():
        raise SystemExit(0)  # the others were needed for training alone
    selection = selection_of(meta)
    return Fitted(
        load_intervention(folder),
        read_json(folder / MANIFEST),
        selection,
        verdict_of(selection) if selection else "",
        _stopped(run),
        run.interrupted,
    )


def _stopped(run: Run) -> str | None:
    if run.stopped and run.interrupted:  # there is nothing here that --resume could continue
        return f"{run.stopped.partition(';')[0]}; what was learned by then is kept."
    return run.stopped


def _write_papers(
    made: Path,
    meta: Mapping[str, Any],
    lm: LM,
    concept: Any,
    control: Any,
    out: Path,
    started: datetime,
    command: Sequence[str] | None,
    run: Run,
) -> None:
    """Manifest, dipole, training history and model card."""
    import torch

    from dipole.report import manifest

    dipole = concept if isinstance(concept, Dipole) else None
    if dipole is not None:
        dipole.save(made / "dipole.toml", overwrite=True)
    if run.history:
        lines = (json.dumps(to_plain(metrics), allow_nan=False) for metrics in run.history)
        write_text_atomic(made / HISTORY, "".join(f"{line}\n" for line in lines))
    facts = manifest(
        control=control,
        concept={} if concept is None else concept.to_dict(),
        prompts=dipole.prompts if dipole else (),
        held_out=dipole.held_out if dipole else (),
        seed=getattr(control, "seed", 0),  # not every control draws
        model=lm.resident.name,
        revision=lm.resident.revision,
        fingerprint=lm.resident.fingerprint,
        started=started,
        finished=datetime.now(UTC),
        device=str(lm.resident.device),
        threads=torch.get_num_threads(),
        out=str(out),
        command=command,
        extra={"verb": "fit", "stopped": _stopped(run), "warnings": run.warnings},
    )
    write_text_atomic(made / CARD, fitted_card(meta, facts))
    write_manifest(made, facts)
