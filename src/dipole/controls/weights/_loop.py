"""The training loop that every control of the weights shares: rounds, checkpoints, logs, stopping.

All randomness of a control is derived from its seed and the round, so a checkpoint needs no random
state: parameters, optimiser moments and a few numbers continue a run bit for bit.
"""

from __future__ import annotations

import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dipole.files import CHECKPOINT, explain, write_bytes_atomic, write_text_atomic
from dipole.files.reader import Unreadable, inside, parse_json, read_bytes, unreadable
from dipole.files.schema import Facts, Flag, Items, Map, Maybe, Misfit, Number, Table, Text, Whole, checked
from dipole.tensors import Wanted, read_stored
from dipole.types import UserError

HISTORY = "history.jsonl"
_SLOTS = {"step", "exp_avg", "exp_avg_sq"}  # what AdamW keeps
_REMEDY = "start again in another folder, or with overwrite=True"
_ROUND = Map(Text(100), Maybe(Number(-1e300, 1e300)))
_META = Table(
    {
        "rounds_done": Whole(0, 100_000_000),
        "numbers": Map(Text(100), Number(-1e300, 1e300)),
        "identity": Facts(),
        "stopped": Maybe(Text()),
        "interrupted": Flag(),
        "seconds": Number(0, 1e12),
        "warnings": Items(Text()),
    }
)

Metrics = dict[str, float]


class Stop(NamedTuple):
    """A reason to end training, in a plain sentence, and whether the last round must be undone."""

    reason: str
    undo: bool = False


class Rounds(Protocol):
    """What a control gives the loop."""

    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer

    def round(self, index: int) -> Metrics:
        """Do one round and say what it measured."""
        ...

    def stop(self, history: list[Metrics]) -> Stop | None:
        """Whether to stop after the last round; None to go on."""
        ...

    def numbers(self) -> dict[str, float]:
        """State that is not a tensor, such as an adapted coefficient."""
        ...

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Take back what `numbers` gave."""
        ...


@dataclass
class Run:
    """Where a training run is kept, and how it went.

    Attributes:
        folder: Folder for the checkpoint and the logs; None keeps the run in memory only.
        resume: Continue from the folder's checkpoint where there is one.
        checkpoint_every: Rounds between checkpoints.
        identity: What must be equal for a checkpoint to be continued: control, concept, model.
        on_round: Called on the main process after each round with its index, the total and its metrics.
        history: Metrics of each round, filled by the loop.
        stopped: Why it ended before its last round; None if it did not.
        interrupted: Whether the user interrupted it.
        seconds: Training time, over all sessions of a resumed run.
        warnings: Plain sentences about what was seen while training.
    """

    folder: Path | None = None
    resume: bool = False
    checkpoint_every: int = 1
    identity: Mapping[str, Any] = field(default_factory=dict)
    on_round: Callable[[int, int, Metrics], None] | None = None
    history: list[Metrics] = field(default_factory=list)
    stopped: str | None = None
    interrupted: bool = False
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)


def run_rounds(task: Rounds, total: int, run: Run, accelerator: Any) -> None:
    """Run rounds until the last one, a reason to stop, or an interrupt.

    A round that ends in NaN, or that its control wants undone, is: the parameters go back to the end of
    the round before, and the run stops there.
    """
    run.history.clear()
    run.warnings.clear()
    run.stopped, run.interrupted, run.seconds = None, False, 0.0
    done = _resume(task, run) if run.resume else 0
    if run.stopped is not None:
        return
    accelerator.wait_for_everyone()  # nobody writes before everybody has read
    writer = None
    if accelerator.is_main_process and run.folder is not None:
        _tidy(run.folder)
        write_text_atomic(run.folder / HISTORY, "".join(map(_to_line, run.history)))
        writer = _Events(run.folder, done) if done < total else None
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


def _record(task: Rounds, run: Run, index: int, metrics: Metrics, writer: _Events | None, last: bool) -> None:
    if run.folder is None:
        return
    try:
        with (run.folder / HISTORY).open("a", encoding="utf-8") as stream:
            stream.write(_to_line(metrics))
    except OSError as error:
        raise explain(run.folder / HISTORY, error) from error
    if writer is not None:
        writer.add(metrics, index)
    if last or (index + 1) % run.checkpoint_every == 0:
        save_checkpoint(task, run, index + 1)


def save_checkpoint(task: Rounds, run: Run, rounds_done: int) -> None:
    """Write parameters, optimiser state and numbers into one file, in one atomic step."""
    from safetensors.torch import save

    assert run.folder is not None
    tensors = {f"parameter.{name}": p.detach().cpu() for name, p in task.parameters.items()}
    for name, parameter in task.parameters.items():
        for key, value in task.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{key}.{name}"] = torch.as_tensor(value).detach().cpu()
    meta = {
        "rounds_done": rounds_done,
        "numbers": task.numbers(),
        "identity": dict(run.identity),
        "stopped": run.stopped,
        "interrupted": run.interrupted,
        "seconds": run.seconds,
        "warnings": run.warnings,
    }
    packed = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_bytes_atomic(run.folder / CHECKPOINT, save(packed, {"dipole": json.dumps(meta)}))


def _resume(task: Rounds, run: Run) -> int:
    """Load the checkpoint of the run's folder where there is one; the number of rounds that are done."""
    path = None if run.folder is None else run.folder / CHECKPOINT
    if path is None or not path.is_file():
        return 0
    tensors, meta = read_checkpoint(path)
    identity = json.loads(json.dumps(dict(run.identity)))
    if meta["identity"] != identity:
        different = sorted(
            k for k in {*meta["identity"], *identity} if meta["identity"].get(k) != identity.get(k)
        )
        raise UserError(
            f"{path} belongs to another run: {', '.join(different)} differ. Resume with the same settings, "
            "or start again in another folder."
        )
    if set(meta["numbers"]) != set(task.numbers()):
        raise UserError(f"The checkpoint {path} lacks numbers of the control; {_REMEDY}.")
    for name, parameter in task.parameters.items():
        _restore_parameter(name, parameter, task.optimizer, tensors, path)
    task.restore(meta["numbers"])
    done: int = meta["rounds_done"]
    run.history[:] = _read_history(path.with_name(HISTORY), done)
    run.seconds, run.warnings[:] = meta["seconds"], meta["warnings"]
    run.stopped = None if meta["interrupted"] else meta["stopped"]
    return done


def _restore_parameter(
    name: str,
    parameter: torch.nn.Parameter,
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    path: Path,
) -> None:
    key = f"parameter.{name}"
    found = tensors.get(key)
    if found is None or found.shape != parameter.shape or not found.is_floating_point():
        raise UserError(f"The checkpoint {path} lacks {name}; it belongs to another run.")
    if not bool(found.isfinite().all()):
        raise UserError(f"The checkpoint {path} is damaged: {name} is not finite; {_REMEDY}.")
    with torch.no_grad():
        parameter.copy_(found)
    state = {}
    for stored, value in tensors.items():
        kind, _, rest = stored.partition(".")
        slot, _, owner = rest.partition(".")
        if kind == "optimizer" and owner == name:
            # Adam counts its steps on the CPU, also for parameters that live elsewhere.
            state[slot] = value.clone() if slot == "step" else value.to(parameter.device, copy=True)
    moments = [value for slot, value in state.items() if slot != "step"]
    if state and (
        set(state) != _SLOTS
        or state["step"].numel() != 1
        or any(m.shape != parameter.shape or m.dtype != parameter.dtype for m in moments)
    ):
        raise UserError(f"The checkpoint {path} is damaged in the optimiser's state of {name}; {_REMEDY}.")
    if state:
        optimizer.state[parameter] = state


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a checkpoint.

    Raises:
        UserError: The file is truncated, corrupt or not a checkpoint of ours.
    """
    stored = read_stored(inside(path.parent, path.name), {}, _REMEDY, others=Wanted("any", finite=False))
    try:
        meta = parse_json(stored.metadata.get("dipole", "null"))
    except Unreadable as error:
        raise unreadable(path, f"its training state: {error}", _REMEDY) from error
    return stored.tensors, checked(_META, meta, f"The training state in {path}", _REMEDY)


def _read_history(path: Path, rounds: int) -> list[Metrics]:
    if not path.is_file():
        return []
    rows = []
    for line in read_bytes(inside(path.parent, path.name), _REMEDY).decode("utf-8", "replace").splitlines():
        try:
            row = parse_json(line)
            _ROUND.read(row, "a round")
        except (Unreadable, Misfit):
            break  # the line that was being written when the process was killed
        rows.append({name: math.nan if value is None else value for name, value in row.items()})
    return [row for row in rows if row.get("round", rounds) < rounds]


def _to_line(metrics: Metrics) -> str:
    """One line of strict JSON, in which a number that is not finite is null."""
    return (
        json.dumps({name: value if math.isfinite(value) else None for name, value in metrics.items()}) + "\n"
    )


def _tidy(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left behind."""
    for name in (CHECKPOINT, HISTORY):
        for left in folder.glob(f".{name}.*.tmp"):
            left.unlink(missing_ok=True)


class _Events:
    """TensorBoard's log of a run, or nothing where TensorBoard is not installed."""

    def __init__(self, folder: Path, done: int) -> None:
        self._path = folder / "tensorboard"
        self._writer: Any = None
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            return
        try:
            # Rounds that were logged after the checkpoint are done again.
            self._writer = SummaryWriter(log_dir=str(self._path), purge_step=done or None)
        except OSError as error:
            raise explain(self._path, error) from error

    def add(self, metrics: Metrics, index: int) -> None:
        """Log one round."""
        if self._writer is None:
            return
        try:
            for name, value in metrics.items():
                self._writer.add_scalar(name, value, index)
        except OSError as error:
            raise explain(self._path, error) from error

    def close(self) -> None:
        """Write what is left; by now a failure would only hide the reason why training ended."""
        if self._writer is not None:
            with suppress(OSError):
                self._writer.close()


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
