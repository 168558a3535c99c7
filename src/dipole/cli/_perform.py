"""Doing an inoculation that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dipole.cli import INTERRUPTED
from dipole.cli._console import emit_json, tell
from dipole.cli._flags import load_model, where_of
from dipole.cli._job import new_job
from dipole.cli._progress import progress
from dipole.cli._resume import resumed_job
from dipole.cli._rich import emit_drawn
from dipole.files import check_output
from dipole.files.paths import given_path
from dipole.types import UserError


def perform(flags: Mapping[str, Any]) -> int:
    """Train, measure and print; the exit code."""
    folder = _folder(flags["out"], flags["overwrite"], flags["resume"])
    job = resumed_job(flags, folder) if flags["resume"] else new_job(flags)
    where = where_of({**flags, **job.settings})
    lm = load_model(job.model, job.revision, *where)
    judge = None if job.judge is None else load_model(job.judge, None, *where)
    from dipole.inoculate import inoculate

    with progress(flags["quiet"]) as on_round:
        outcome = inoculate(
            lm,
            job.dipole,
            folder,
            job.control,
            judge=judge,
            bystanders=job.bystanders,
            n=job.settings["n"],
            overwrite=flags["overwrite"],
            resume=flags["resume"],
            command=job.command,
            settings=job.settings,
            on_round=on_round,
        )
    if outcome is None:  # a process that only helped to train
        return 0
    if flags["json"]:
        emit_json(outcome.record)
    else:
        from dipole.report import terminal_summary

        emit_drawn(partial(terminal_summary, outcome.effect))
    if not flags["quiet"]:
        tell(f"dipole: the report is {folder / 'report.html'}; use it with --intervention {folder}")
    return INTERRUPTED if outcome.run.interrupted else 0


def _folder(out: str, overwrite: bool, resume: bool) -> Path:
    """The output folder; what would be refused later is refused before a model is loaded."""
    if not out.strip():
        raise UserError("The output folder is an empty string; give one such as --out runs/clips.")
    folder = given_path(out, "The output folder")
    check_output(folder, overwrite, resume)
    return folder
