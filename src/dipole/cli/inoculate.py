"""`dipole inoculate`: the main job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any

import typer

from dipole.cli._console import INTERRUPTED, emit_drawn, emit_json, tell
from dipole.cli._flags import Texts
from dipole.cli._groups import JudgedSource, output_folder
from dipole.cli._progress import progress, shown_rounds

_Words = Annotated[list[str] | None, typer.Option(metavar="WORD")]


@dataclass(frozen=True, kw_only=True)
class Inoculate:
    """Train a model to hold a claim against its opposite, and measure what changed and what else changed.

    Attributes:
        out: Folder for the adapter, the report and all else.
        claim: The statement that is wanted.
        against: Its opposite.
        prompt: To train on. May be repeated.
        held_out: A wording to measure on, never trained on. May be repeated.
        mention_claim: A word of the claim's side. May be repeated.
        mention_against: A word of the other side. May be repeated.
        control: What trains: a control of the weights; `dipole inoculate --control NAME --help` lists its
            flags. [default: ppo]
        dipole: A dipole file (TOML; FILE:NAME of several), or a ready one by name; see `dipole dipoles`.
        overwrite: Replace the run in the folder.
        resume: Continue the run in the folder, with the settings that it has.
        n: Completions to measure, each. [default: 128]
        bystanders: Dipoles that should not move: an arsenal's file or name, or none. [default: ready ones]
        json: Print effect.json, on one line, in place of the summary.
        quiet: No progress on standard error.
    """

    out: str
    claim: Annotated[str | None, typer.Argument(metavar="CLAIM")] = None
    against: str | None = None
    prompt: Texts = None
    held_out: Texts = None
    mention_claim: _Words = None
    mention_against: _Words = None
    control: str | None = None
    dipole: str | None = None
    source: JudgedSource
    overwrite: bool = False
    resume: bool = False
    n: Annotated[int | None, typer.Option(min=1)] = None
    bystanders: str | None = None
    json: bool = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q")] = False
    fields: Mapping[str, Any]

    def run(self) -> int:
        """Train, measure and print; the exit code."""
        from dipole.cli._job import new_job, resumed_job
        from dipole.runs import inoculate_in

        folder = output_folder(self.out, self.overwrite, self.resume)
        job = resumed_job(self, folder) if self.resume else new_job(self)
        judge = job.source.judge
        lm = job.source.load()
        with progress(self.quiet) as show:
            found = inoculate_in(
                folder,
                lm,
                job.dipole,
                job.control,
                judge=None if judge is None else replace(job.source, model=judge, revision=None).load(),
                bystanders=job.bystanders,
                n=job.settings["n"],
                overwrite=self.overwrite,
                resume=self.resume,
                command=job.command,
                settings=job.settings,
                on_round=shown_rounds(show, "measuring before and after"),
            )
        if found is None:  # a process that only helped to train
            return 0
        if self.json:
            emit_json(found.to_dict())
        else:
            from dipole.report import terminal_summary

            emit_drawn(partial(terminal_summary, found.effect))
        if not self.quiet:
            tell(f"dipole: the report is {folder / 'report.html'}; use it with --intervention {folder}")
        return INTERRUPTED if found.run.interrupted else 0
