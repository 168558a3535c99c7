"""The main job: fit a control to a dipole, measure what changed, and keep all of it in one folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dipole.controls.weights.ppo import PPO
from dipole.effects import Effect
from dipole.files import HISTORY, MANIFEST, run_folder, working_folder, write_json_atomic
from dipole.files.paths import given_path
from dipole.files.reader import inside, read_json
from dipole.files.schema import Facts, Flag, Maybe, Name, Optional, Table, Text, Whole, checked, of_fields
from dipole.interventions.weights import Adapter
from dipole.progress import Progress, rounds, silent
from dipole.protocols import Control, Recognizer, Run
from dipole.registry import CONTROLS, make_recognizer, resolve
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.concepts import Dipole
    from dipole.interventions.weights import Adapter
    from dipole.protocols import LM

EFFECT = "effect.json"


class Trained(Control, Protocol):
    """A control that trains an adapter."""

    @property
    def max_new_tokens(self) -> int:
        """Token budget of a completion, when trained and when measured."""
        ...

    @property
    def seed(self) -> int:
        """Seed of the training."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What an inoculation leaves behind.

    Attributes:
        adapter: The fitted intervention.
        effect: What changed, and what else.
        run: How training went.
        record: What `effect.json` holds.
    """

    adapter: Adapter
    effect: Effect
    run: Run
    record: Mapping[str, Any]


def inoculate(
    lm: LM,
    dipole: Dipole,
    out: Path | str,
    control: Trained = PPO(),
    *,
    judge: LM | None = None,
    bystanders: Sequence[Dipole] = (),
    n: int = 128,
    overwrite: bool = False,
    resume: bool = False,
    command: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Outcome | None:
    """Train an adapter on the dipole's prompts and measure it on prompts that it never saw.

    The folder then holds `adapter/`, `effect.json`, `report.html`, `report.md`, `history.jsonl`,
    `manifest.json`, `dipole.toml`, and a checkpoint that `resume` continues from.

    Args:
        lm: The model to steer; it stays as it was.
        dipole: What is wanted; `prompts` are trained on, `held_out` are only measured.
        out: Output folder; an existing one is refused unless `overwrite` or `resume` is asked for.
        control: How to train: any control that makes an adapter.
        judge: Scorer in place of the model itself.
        bystanders: Dipoles that nobody asked to move.
        n: Completions measured before and after.
        overwrite: Replace the run in `out`.
        resume: Continue the run in `out`.
        command: Command line for the manifest; that of this process by default.
        settings: Further facts for the manifest, such as the flags of the command line.
        progress: Told of each round of training, and when it is measured.

    Returns:
        What was made; None on every process but the main one of several, as they only help to train.

    Raises:
        UserError: Bad input, an unusable folder, or a checkpoint of another run.
    """
    from accelerate import PartialState

    folder = given_path(out, "The output folder")
    state = PartialState(cpu=lm.resident.device.type == "cpu")
    started = datetime.now(UTC)
    require_trained(control)
    rewarded = control.judged_by.rewarded
    recognizer = make_recognizer(rewarded[0], judge or lm) if rewarded else None
    manifest = _Manifest(lm, dipole, folder, control, judge, command, started, settings or {})
    _rehearse(lm, dipole, bystanders, control, recognizer)
    run = Run(resume=resume, identity=manifest.identity(), recognizer=recognizer, on_round=rounds(progress))
    if not state.is_main_process:
        state.wait_for_everyone()  # until the folder is ready
        run.folder = working_folder(folder)
        control.fit(lm, dipole, run)
        return None
    with run_folder(folder, overwrite=overwrite, resume=resume) as run.folder:
        if not resume:  # a run that turns out to be another one keeps its papers
            dipole.save(run.folder / "dipole.toml", overwrite=True)
            manifest.write(run.folder, started, finished=False)
        state.wait_for_everyone()
        adapter: Adapter = control.fit(lm, dipole, run)  # type: ignore[assignment]
        adapter.save(run.folder / "adapter")  # before anything else can fail
        progress("measuring before and after")
        effect = _measure(lm, adapter, dipole, recognizer, bystanders, n, control, run)
        finished = run.stopped is None or not run.interrupted
        facts = manifest.write(run.folder, datetime.now(UTC), finished)
        return _keep(run.folder, adapter, effect, run, facts)


def require_trained(control: Any) -> None:
    """Refuse a control, or the class of one, that makes no adapter.

    Raises:
        UserError: It makes something else.
    """
    if control.makes is not Adapter:
        raise UserError(
            f"inoculate trains an adapter, and {control.name} makes none; use `dipole fit {control.name}` "
            "and `dipole compare`, or a control of the weights, such as ppo or sft."
        )


def _rehearse(
    lm: LM,
    dipole: Dipole,
    bystanders: Sequence[Dipole],
    control: Trained,
    recognizer: Recognizer | None,
) -> None:
    """Find out before anything is written or trained whether every text will fit."""
    watched = (prompt for bystander in bystanders for prompt in bystander.held_out or bystander.prompts)
    for prompt in (*dipole.prompts, *dipole.held_out, *watched):
        lm.require_room(prompt, control.max_new_tokens)
    if recognizer is not None:
        recognizer.score(dipole.prompts[:1], dipole)


def _measure(
    lm: LM,
    adapter: Adapter,
    dipole: Dipole,
    recognizer: Recognizer | None,
    bystanders: Sequence[Dipole],
    n: int,
    control: Trained,
    run: Run,
) -> Effect:
    from dipole.evaluation.compare import compare

    effect = compare(
        lm,
        adapter.apply(lm),
        dipole,
        n=n,
        seed=control.seed + 1,
        max_new_tokens=control.max_new_tokens,
        reward=recognizer,
        bystanders=bystanders,
        trained_prompts=dipole.prompts,
    )
    said = ([run.stopped] if run.stopped else []) + run.warnings
    return replace(effect, notes=(*said, *effect.notes))


@dataclass(frozen=True)
class _Manifest:
    lm: LM
    dipole: Dipole
    out: Path
    control: Trained
    judge: LM | None
    command: Sequence[str] | None
    started: datetime
    settings: Mapping[str, Any]

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to be continued."""
        return {
            "control": {"name": self.control.name, **dataclasses.asdict(self.control)},  # type: ignore[call-overload]
            "concept": self.dipole.to_dict(),
            "model": self.lm.resident.fingerprint,
            "judge": None if self.judge is None else self.judge.resident.fingerprint,
        }

    def write(self, folder: Path, until: datetime, finished: bool) -> dict[str, Any]:
        """Write `manifest.json`; it exists from the first moment, so that a killed run can be resumed."""
        import torch

        from dipole.report import manifest

        judge = self.judge.resident if self.judge else None
        scorer = None
        if judge is not None:
            scorer = {"name": judge.name, "revision": judge.revision, "fingerprint": judge.fingerprint}
        facts = manifest(
            control=self.control,
            concept=self.dipole.to_dict(),
            prompts=self.dipole.prompts,
            held_out=self.dipole.held_out,
            seed=self.control.seed,
            model=self.lm.resident.name,
            revision=self.lm.resident.revision,
            fingerprint=self.lm.resident.fingerprint,
            judge=scorer,
            started=self.started,
            finished=until,
            device=str(self.lm.resident.device),
            threads=torch.get_num_threads(),
            out=str(self.out),
            command=self.command,
            extra={"finished_training": finished, "settings": self.settings},
        )
        write_json_atomic(folder / "manifest.json", facts)
        return facts


def _keep(folder: Path, adapter: Adapter, effect: Effect, run: Run, facts: dict[str, Any]) -> Outcome:
    from dipole.evaluation.serialise import effect_to_dict
    from dipole.report import model_card, write_report

    record = {
        **effect_to_dict(effect),
        "training": {
            "rounds": len(run.history),
            "seconds": run.seconds,
            "stopped": run.stopped,
            "warnings": run.warnings,
            "history": HISTORY,
        },
    }
    write_json_atomic(folder / EFFECT, record)
    carded = replace(adapter, card=model_card(effect, facts))
    carded.save(folder / "adapter")
    write_report(folder, effect, run.history, facts)
    return Outcome(carded, effect, run, record)


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
                }
            ),
            {},
        ),
        "command": Text(),
    },
    more=True,  # a manifest records much that is not needed to go on
)
