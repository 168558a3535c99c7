"""What a training run leaves while it goes on: checkpoint, history and log, whole whenever it is killed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from dipole.files import CHECKPOINT, HISTORY, explain, write_bytes_atomic, write_text_atomic
from dipole.files.reader import Unreadable, inside, parse_json, read_bytes, unreadable
from dipole.files.schema import Facts, Flag, Items, Map, Maybe, Misfit, Number, Table, Text, Whole, checked
from dipole.protocols import Metrics, Run
from dipole.tensors import Wanted, read_stored
from dipole.types import UserError

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


class Resumable(Protocol):
    """What a checkpoint holds of a control under training."""

    parameters: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer

    def numbers(self) -> dict[str, float]:
        """State that is not a tensor, such as an adapted coefficient."""
        ...

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Take back what `numbers` gave."""
        ...


def save_checkpoint(task: Resumable, run: Run, rounds_done: int) -> None:
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


def resume(task: Resumable, run: Run) -> int:
    """Load the checkpoint of the run's folder where there is one; the number of rounds that are done.

    Raises:
        UserError: It is damaged, or belongs to another run.
    """
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


def write_history(folder: Path, history: list[Metrics]) -> None:
    """Write the whole history, once what a process that was killed while it wrote left behind is gone."""
    for name in (CHECKPOINT, HISTORY):
        for left in folder.glob(f".{name}.*.tmp"):
            left.unlink(missing_ok=True)
    write_text_atomic(folder / HISTORY, "".join(map(_to_line, history)))


def append_history(folder: Path, metrics: Metrics) -> None:
    """Add a round to the history."""
    try:
        with (folder / HISTORY).open("a", encoding="utf-8") as stream:
            stream.write(_to_line(metrics))
    except OSError as error:
        raise explain(folder / HISTORY, error) from error


def _to_line(metrics: Metrics) -> str:
    """One line of strict JSON, in which a number that is not finite is null."""
    return (
        json.dumps({name: value if math.isfinite(value) else None for name, value in metrics.items()}) + "\n"
    )


class Events:
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
