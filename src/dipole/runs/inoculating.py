"""An inoculation in a folder: kept while it goes on, and resumed where it was broken off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dipole.concepts import Dipole, load_dipole
from dipole.controls.weights.settings import Trained
from dipole.evaluation.inoculate import Inoculated, Inoculation, require_trained, trained
from dipole.files import MANIFEST, run_folder, working_folder, write_json_atomic
from dipole.files.paths import given_path
from dipole.files.reader import inside, read_json
from dipole.files.schema import Facts, Flag, Maybe, Name, Optional, Table, Text, Whole, checked, of_fields
from dipole.origin import Origin, now
from dipole.progress import Progress, silent
from dipole.protocols import LM
from dipole.registry import CONTROLS, resolve
from dipole.runs.manifest import manifest
from dipole.runs.writers import write
from dipole.types import UserError


def inoculate_in(
    out: Path | str,
    lm: LM,
    dipole: Dipole,
    control: Trained | None = None,
    *,
    judge: LM | None = None,
    bystanders: Sequence[Dipole] = (),
    n: int = 128,
    vary: bool = True,
    overwrite: bool = False,
    resume: bool = False,
    command: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Inoculated | None:
    """Do what `inoculate` does in a folder, which holds a checkpoint from the first round on.

    The folder then holds `adapter/`, `effect.json`, `report.html`, `report.md`, `history.jsonl`,
    `manifest.json`, `dipole.toml`, and a checkpoint that `resume` continues from.

    Args:
        out: Output folder; an existing one is refused unless `overwrite` or `resume` is asked for.
        lm: As for `inoculate`.
        dipole: As for `inoculate`.
        control: As for `inoculate`.
        judge: As for `inoculate`.
        bystanders: As for `inoculate`.
        n: As for `inoculate`.
        vary: As for `inoculate`; a run that is resumed has its prompts.
        overwrite: Replace the run in `out`.
        resume: Continue the run in `out`.
        command: Command line for the manifest; that of this process by default.
        settings: Further facts for the manifest, such as the flags of the command line.
        progress: As for `inoculate`.

    Returns:
        What was made; None on every process but the main one of several, as they only help to train.

    Raises:
        UserError: Bad input, an unusable folder, or a checkpoint of another run.
    """
    from accelerate import PartialState

    folder, started = given_path(out, "The output folder"), now()
    if resume:
        dipole = _varied(folder, dipole)
    state = PartialState(cpu=lm.resident.device.type == "cpu")
    job = Inoculation(lm, dipole, trained(control), judge, bystanders, n, progress)
    if not resume:
        job = job.with_wordings(vary)
    run = job.new_run(resume)
    job.prepare(run)
    if not state.is_main_process:
        state.wait_for_everyone()  # until the folder is ready
        run.folder = working_folder(folder)
        job.control.fit(lm, job.dipole, run)
        return None

    def facts_of(origin: Origin) -> dict[str, Any]:
        return manifest(origin, str(folder), command, {"settings": settings or {}})

    with run_folder(folder, overwrite=overwrite, resume=resume) as run.folder:
        if not resume:  # a run that turns out to be another one keeps its papers
            job.dipole.save(run.folder / "dipole.toml", overwrite=True)
            # From the first moment, so that a run that is killed can be resumed.
            write_json_atomic(run.folder / MANIFEST, facts_of(job.origin(started)))
        state.wait_for_everyone()
        found = job.done(run, started)
        facts = facts_of(found.origin)
        write_json_atomic(run.folder / MANIFEST, facts)
        write(found, run.folder, facts)
        return found


def _varied(out: Path, dipole: Dipole) -> Dipole:
    """The dipole of a run where that is the one given with other wordings of its lone prompt."""
    path = inside(working_folder(out), "dipole.toml")
    if len(dipole.prompts) != 1 or not path.is_file():
        return dipole
    kept = load_dipole(str(path))
    return kept if replace(kept, prompts=kept.prompts[:1]) == dipole else dipole


def resume_settings(out: Path) -> dict[str, Any]:
    """The manifest of a run that is to be continued, the fields of its control checked.

    Raises:
        UserError: There is none, or it can't be read.
    """
    path = inside(working_folder(out), MANIFEST)
    if not path.exists():
        raise UserError(f"There is no run to resume in {out}; leave out resume=True to start one there.")
    remedy = "start again in another folder"
    facts = checked(_RESUMABLE, read_json(path, remedy), path, remedy)
    made = resolve(CONTROLS, facts["control"]["name"])
    require_trained(made)
    fields = checked(of_fields(made), facts["control"]["fields"], f"The control in {path}", remedy)
    return {**facts, "control": {**facts["control"], "fields": fields}}


_NAME = Name(4096, 1)
_SCORER = Table({"name": _NAME, "revision": Optional(Maybe(_NAME))}, more=True)
_RESUMABLE = Table(
    {
        "control": Table({"name": Name(100, 1), "fields": Facts()}, more=True),
        "concept": Facts(),
        "model": Table({"name": _NAME, "revision": Optional(Maybe(_NAME))}, more=True),
        "judge": Optional(Maybe(_SCORER)),
        "settings": Optional(
            Table(
                {
                    "n": Optional(Whole(1), 128),
                    "bystanders": Optional(Maybe(_NAME)),
                    "dtype": Optional(Maybe(Name(40))),
                    "device": Optional(Maybe(Name(40))),
                    "special_tokens": Optional(Maybe(Flag())),
                    "plain": Optional(Maybe(Flag())),
                }
            ),
            {},
        ),
        "command": Text(),
    },
    more=True,  # a manifest records much that is not needed to go on
)
