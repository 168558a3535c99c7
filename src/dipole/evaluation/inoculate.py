"""The main job: train an adapter on a dipole, and measure what changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from dipole.concepts import Dipole
from dipole.controls.weights.settings import Trained
from dipole.effects import Effect
from dipole.evaluation.compare import compare
from dipole.evaluation.prompts import prepared
from dipole.evaluation.serialise import effect_to_dict
from dipole.files import HISTORY
from dipole.interventions.weights import Adapter
from dipole.origin import Origin, fit_origin, now
from dipole.progress import Progress, rounds, silent
from dipole.protocols import LM, Run
from dipole.recognizers.fitted import recognizer_named
from dipole.registry import CONTROLS, TRAINED, resolve
from dipole.types import UserError


@dataclass(frozen=True, eq=False)
class Inoculated:
    """What an inoculation gave.

    Attributes:
        adapter: The fitted intervention.
        effect: What changed, and what else.
        run: How training went.
        origin: What makes it again.
    """

    adapter: Adapter
    effect: Effect
    run: Run
    origin: Origin

    def __str__(self) -> str:
        """What changed."""
        return str(self.effect)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as in `effect.json`."""
        training = {
            "rounds": len(self.run.history),
            "seconds": self.run.seconds,
            "stopped": self.run.stopped,
            "warnings": self.run.warnings,
            "history": HISTORY,
        }
        return {**effect_to_dict(self.effect), "training": training}


@dataclass(frozen=True, eq=False)
class Inoculation:
    """What `inoculate` was asked to do; its steps, for who keeps a folder meanwhile."""

    lm: LM
    dipole: Dipole
    control: Trained
    judge: LM | None
    bystanders: Sequence[Dipole]
    n: int
    progress: Progress
    notes: tuple[str, ...] = ()

    def with_wordings(self, vary: bool) -> Inoculation:
        """The same with more wordings of a lone prompt, and with what the prompts do to the model.

        Raises:
            UserError: The control trains no adapter, or a prompt does not fit.
        """
        require_trained(self.control)
        tokens, seed = self.control.max_new_tokens, self.control.seed
        for prompt in self.dipole.prompts:
            self.lm.require_room(prompt, tokens)
        found = prepared(self.lm, self.dipole, tokens, seed, vary, self.progress)
        return replace(self, dipole=found.dipole, notes=found.notes)

    def new_run(self, resume: bool = False) -> Run:
        """A run of it, whose rounds are told of."""
        return Run(resume=resume, on_round=rounds(self.progress))

    def prepare(self, run: Run) -> None:
        """Find out before anything is written or trained whether it can be done.

        Args:
            run: Gets the judge, and what must be the same for a checkpoint to be continued.

        Raises:
            UserError: The control trains no adapter, or a text does not fit.
        """
        require_trained(self.control)
        dipole, rewarded = self.dipole, self.control.judged_by.rewarded
        run.recognizer = recognizer_named(rewarded[0], self.judge or self.lm) if rewarded else None
        run.identity = {
            "control": {"name": self.control.name, **dataclasses.asdict(self.control)},
            "concept": dipole.to_dict(),
            "model": self.lm.resident.fingerprint,
            **({"chat": True} if self.lm.resident.chat else {}),
            "judge": None if self.judge is None else self.judge.resident.fingerprint,
        }
        watched = (prompt for other in self.bystanders for prompt in other.held_out or other.prompts)
        for prompt in (*dipole.prompts, *dipole.held_out, *watched):
            self.lm.require_room(prompt, self.control.max_new_tokens)
        if run.recognizer is not None:
            run.recognizer.score(dipole.prompts[:1], dipole)

    def origin(self, started: datetime, finished: bool = False) -> Origin:
        """What the manifest will say.

        Args:
            started: When it began.
            finished: Whether training ended by itself.
        """
        return fit_origin(
            self.control, self.dipole.to_dict(), started, self.lm.resident, seed=self.control.seed,
            prompts=self.dipole.prompts, held_out=self.dipole.held_out,
            judge=None if self.judge is None else self.judge.resident, finished_training=finished,
        )  # fmt: skip

    def done(self, run: Run, started: datetime) -> Inoculated:
        """Train and measure."""
        adapter = self.control.fit(self.lm, self.dipole, run)
        if run.folder is not None:
            adapter.save(run.folder / "adapter")  # before anything else can fail
        notes = self.notes
        if run.resume:  # only now, since a checkpoint of another run is refused before anything is drawn
            notes = self.with_wordings(vary=False).notes
        self.progress("measuring before and after")
        effect = compare(
            self.lm, adapter.apply(self.lm), self.dipole, n=self.n, seed=self.control.seed + 1,
            max_new_tokens=self.control.max_new_tokens, reward=run.recognizer, bystanders=self.bystanders,
            trained_prompts=self.dipole.prompts,
        )  # fmt: skip
        said = [*([run.stopped] if run.stopped else []), *run.warnings, *notes]
        finished = run.stopped is None or not run.interrupted
        effect = replace(effect, notes=(*said, *effect.notes))
        return Inoculated(adapter, effect, run, self.origin(started, finished))


def inoculate(
    lm: LM,
    dipole: Dipole,
    control: Trained | None = None,
    *,
    judge: LM | None = None,
    bystanders: Sequence[Dipole] = (),
    n: int = 128,
    vary: bool = True,
    progress: Progress = silent,
) -> Inoculated:
    """Train an adapter on the dipole's prompts and measure it on prompts that it never saw.

    `dipole.runs.inoculate_in` does the same in a folder, where what was learned is kept while it goes on and
    can be resumed.

    Args:
        lm: The model to steer; it stays as it was.
        dipole: What is wanted; `prompts` are trained on, `held_out` are only measured.
        control: How to train: any control that makes an adapter; GRPO by default.
        judge: Scorer in place of the model itself.
        bystanders: Dipoles that nobody asked to move.
        n: Completions measured before and after.
        vary: Train on other wordings too where there is one prompt; see `evaluation.prompts`.
        progress: Told of each round of training, and when it is measured.

    Raises:
        UserError: Bad input.
    """
    asked = trained(control)
    job, started = Inoculation(lm, dipole, asked, judge, bystanders, n, progress).with_wordings(vary), now()
    run = job.new_run()
    job.prepare(run)
    return job.done(run, started)


def trained(control: Trained | None) -> Trained:
    """The control that was named, or the usual one."""
    made: Trained = resolve(CONTROLS, TRAINED)() if control is None else control
    return made


def require_trained(control: Any) -> None:
    """Refuse a control, or the class of one, that makes no adapter.

    Raises:
        UserError: It makes something else.
    """
    if control.makes is not Adapter:
        raise UserError(
            f"inoculate trains an adapter, and {control.name} makes none; use `dipole fit {control.name}` "
            "and `dipole compare`, or a control of the weights, such as grpo or sft."
        )
