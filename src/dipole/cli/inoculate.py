"""`dipole inoculate`: the main job."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from dipole.cli._console import INTERRUPTED, emit_drawn, emit_json, tell
from dipole.cli._groups import output_folder
from dipole.cli._job import Training, new_job, resumed_job
from dipole.cli._progress import progress


@dataclass(frozen=True, kw_only=True)
class Inoculate(Training):
    """Train a model to hold a claim against its opposite, and measure what changed and what else changed."""

    def run(self) -> int:
        """Train, measure and print; the exit code."""
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
                vary=self.vary,
                overwrite=self.overwrite,
                resume=self.resume,
                command=job.command,
                settings=job.settings,
                progress=show,
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
