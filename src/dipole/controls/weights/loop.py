"""The training loop that every control of the weights shares: rounds, checkpoints, logs, stopping.

All randomness of a control is derived from its seed and the round, so a checkpoint needs no random
state: parameters, optimiser moments and a few numbers continue a run bit for bit.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple, Protocol

import torch

from dipole.controls.weights.adapter import ADAPTER, live_adapter, lora_config, targets_of, with_targets
from dipole.controls.weights.checkpoint import (
    Events,
    Resumable,
    append_history,
    resume,
    save_checkpoint,
    write_history,
)
from dipole.controls.weights.settings import Trained
from dipole.engaging.adapters import adapter_state
from dipole.interventions.weights import Adapter
from dipole.protocols import LM, Metrics, Run
from dipole.types import UserError


class Stop(NamedTuple):
    """A reason to end training, in a plain sentence, and whether the last round must be undone."""

    reason: str
    undo: bool = False


class Rounds(Resumable, Protocol):
    """What a control gives the loop."""

    def round(self, index: int) -> Metrics:
        """Do one round and say what it measured."""
        ...

    def stop(self, history: list[Metrics]) -> Stop | None:
        """Whether to stop after the last round; None to go on."""
        ...


class Place(NamedTuple):
    """Where a control trains.

    Attributes:
        lm: The LM, whose resident model has the adapter in place.
        model: That model as PEFT wraps it, by which the adapter is switched off.
        accelerator: By which processes work together.
        run: Where the run is kept.
    """

    lm: LM
    model: Any
    accelerator: Any
    run: Run


def train(control: Trained, lm: LM, run: Run | None, begin: Callable[[Place], Rounds]) -> Adapter:
    """Train a control's adapter, which is the only thing of it that stays.

    Args:
        control: The adapter's settings, and how many rounds there are.
        lm: The LM, without interventions; it is as it was afterwards, also after an error.
        run: Where to log, checkpoint and resume; nothing is written without it.
        begin: Makes what does the rounds, once the adapter is in place.

    Raises:
        UserError: The LM carries interventions, there are more processes than texts, or the run's folder
            can't be used.
    """
    from accelerate import Accelerator

    if lm.applied:
        raise UserError(
            f"{control.name} trains on top of a base model, and this LM already carries interventions; fit "
            "on lm.base, and apply both interventions afterwards."
        )
    run = run or Run()
    accelerator = Accelerator(cpu=lm.resident.device.type == "cpu")
    if control.batch_size < accelerator.num_processes:
        raise UserError(
            f"batch_size is {control.batch_size}, and {accelerator.num_processes} processes need at least "
            "one sample each; raise batch_size or start fewer processes."
        )
    with lm.resident.turn():
        targets = targets_of(lm.resident.model, lora_config(control), control.live_blocks)
    config = with_targets(lora_config(control), targets)
    with live_adapter(lm, config, control.seed) as model:
        run_rounds(begin(Place(lm, model, accelerator, run)), control.rounds, run, accelerator, targets.note)
        state = adapter_state(model, ADAPTER)
    config.base_model_name_or_path = lm.resident.name
    config.inference_mode = True
    judged = control.judged_by
    if run.recognizer is not None and judged.rewarded:
        judged = judged._replace(rewarded=(run.recognizer.name,))
    return Adapter(
        config, state, lm.resident.fingerprint, lm.resident.name, facts={"judged_by": judged._asdict()}
    )


def run_rounds(task: Rounds, total: int, run: Run, accelerator: Any, note: str = "") -> None:
    """Run rounds until the last one, a reason to stop, or an interrupt.

    A round that ends in NaN, or that its control wants undone, is: the parameters go back to the end of
    the round before, and the run stops there.

    Args:
        task: Does the rounds.
        total: How many there are.
        run: Where it is kept; what it held of an earlier run is dropped.
        accelerator: By which processes work together.
        note: What a user should know from the start; may be empty.
    """
    run.history.clear()
    run.warnings.clear()
    run.stopped, run.interrupted, run.seconds = None, False, 0.0
    done = resume(task, run) if run.resume else 0
    if run.stopped is not None:
        return
    if note:
        run.warn(note)
    accelerator.wait_for_everyone()  # nobody writes before everybody has read
    writer = None
    if accelerator.is_main_process and run.folder is not None:
        write_history(run.folder, run.history)
        writer = Events(run.folder, done) if done < total else None
    try:
        with _interrupt_flag() as interrupted:
            for index in range(done, total):
                metrics = _one_round(task, index, run)
                wanted = _any_process(interrupted(), accelerator)
                run.interrupted = wanted and run.stopped is None and index + 1 < total
                if run.interrupted:
                    run.stopped = f"Interrupted after {index + 1} of {total} rounds; --resume continues."
                last = run.stopped is not None or index + 1 == total
                if accelerator.is_main_process:
                    _record(task, run, index, metrics, writer, last)
                    if run.on_round is not None:
                        run.on_round(index, total, metrics)
                if last:
                    break
    finally:
        if writer is not None:
            writer.close()
    accelerator.wait_for_everyone()


def _one_round(task: Rounds, index: int, run: Run) -> Metrics:
    before = {name: parameter.detach().clone() for name, parameter in task.parameters.items()}
    began = time.perf_counter()
    metrics: Metrics = {"round": index, **task.round(index)}
    metrics["seconds"] = time.perf_counter() - began
    run.history.append(metrics)
    run.seconds += metrics["seconds"]
    stop = _bad_number(metrics) or task.stop(run.history)
    if stop is not None:
        run.stopped = stop.reason
        if stop.undo:
            with torch.no_grad():
                for name, parameter in task.parameters.items():
                    parameter.copy_(before[name])
    return metrics


def _bad_number(metrics: Mapping[str, float]) -> Stop | None:
    bad = [name for name, value in metrics.items() if not math.isfinite(value)]
    if not bad:
        return None
    return Stop(
        f"Training stopped in round {int(metrics['round']) + 1}: {', '.join(bad)} became NaN or infinite. "
        "The weights are those of the round before. Lower the learning rate, or use float32.",
        undo=True,
    )


def _any_process(flag: bool, accelerator: Any) -> bool:
    if accelerator.num_processes == 1:
        return flag
    tensor = torch.tensor([int(flag)], device=accelerator.device)
    return bool(accelerator.gather(tensor).max().item())


def _record(task: Rounds, run: Run, index: int, metrics: Metrics, writer: Events | None, last: bool) -> None:
    if run.folder is None:
        return
    append_history(run.folder, metrics)
    if writer is not None:
        writer.add(metrics, index)
    if last or (index + 1) % run.checkpoint_every == 0:
        save_checkpoint(task, run, index + 1)


@contextmanager
def _interrupt_flag() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C into a flag that is read between rounds; the second one interrupts at once."""
    seen: list[int] = []

    def handler(signum: int, frame: FrameType | None) -> None:
        if seen:
            signal.default_int_handler(signum, frame)
        seen.append(signum)

    try:
        previous = signal.signal(signal.SIGINT, handler)
    except ValueError:  # not in the main thread, where signals can't be caught
        yield lambda: False
        return
    try:
        yield lambda: bool(seen)
    finally:
        signal.signal(signal.SIGINT, previous)
