"""The training loop on a task of three numbers: checkpoints, resuming, stopping, and disks that are full."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import save_file

from dipole.controls.weights.checkpoint import read_checkpoint
from dipole.controls.weights.loop import Stop, run_rounds
from dipole.files import CHECKPOINT, HISTORY
from dipole.protocols import Metrics, Run
from dipole.types import UserError


class Toy:
    """Adam on three numbers; `kl` stands for state that is not a tensor."""

    def __init__(self, at: Mapping[int, Any] | None = None) -> None:
        self.weight = torch.nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))
        self.parameters: Mapping[str, torch.nn.Parameter] = {"toy.weight": self.weight}
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam([self.weight], lr=0.1)
        self.kl = 0.5
        self._at = dict(at or {})

    def round(self, index: int) -> Metrics:
        target = torch.randn(3, generator=torch.Generator().manual_seed(index))
        self.optimizer.zero_grad()
        loss = (self.weight - target).square().sum()
        loss.backward()
        self.optimizer.step()
        self.kl *= 1.1
        action = self._at.get(index)
        if callable(action):
            action()
        return {"loss": action if isinstance(action, float) else loss.item()}

    def stop(self, history: list[Metrics]) -> Stop | None:
        action = self._at.get(len(history) - 1)
        return action if isinstance(action, Stop) else None

    def numbers(self) -> dict[str, float]:
        return {"kl": self.kl}

    def restore(self, numbers: Mapping[str, float]) -> None:
        self.kl = numbers["kl"]


def go(
    folder: Path | None, at: Mapping[int, Any] | None = None, total: int = 6, **run: Any
) -> tuple[Toy, Run]:
    task, log = Toy(at), Run(folder=folder, **run)
    run_rounds(task, total, log, Accelerator(cpu=True))
    return task, log


def rounds_on_disk(folder: Path) -> list[int]:
    return [json.loads(line)["round"] for line in (folder / HISTORY).read_text().splitlines()]


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_an_unbroken_run_needs_no_folder() -> None:
    _, run = go(None)
    assert [m["round"] for m in run.history] == list(range(6))
    assert run.stopped is None


def assert_same_as_unbroken(task: Toy, folder: Path) -> None:
    whole, log = go(None)
    assert torch.equal(task.weight, whole.weight)
    assert task.kl == whole.kl
    for key, value in whole.optimizer.state[whole.weight].items():
        assert torch.equal(torch.as_tensor(task.optimizer.state[task.weight][key]), torch.as_tensor(value))
    assert rounds_on_disk(folder) == [m["round"] for m in log.history]


@pytest.mark.parametrize("after", [0, 2, 4])
def test_interrupted_and_resumed_is_the_same_bit_for_bit(after: int, tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT)
    _, run = go(tmp_path, {after: interrupt})
    assert run.interrupted
    assert run.stopped == f"Interrupted after {after + 1} of 6 rounds; --resume continues."
    assert rounds_on_disk(tmp_path) == list(range(after + 1))
    assert signal.getsignal(signal.SIGINT) == before
    task, resumed = go(tmp_path, resume=True)
    assert_same_as_unbroken(task, tmp_path)
    assert resumed.stopped is None
    assert len(resumed.history) == 6
    assert resumed.seconds > run.seconds > 0


def test_an_interrupt_in_the_last_round_is_an_end_like_any_other(tmp_path: Path) -> None:
    _, run = go(tmp_path, {5: interrupt})
    assert not run.interrupted
    assert run.stopped is None


def test_an_interrupt_does_not_lift_a_reason_to_stop(tmp_path: Path) -> None:
    class Both(Toy):
        def stop(self, history: list[Metrics]) -> Stop | None:
            interrupt()
            return Stop("Enough.")

    run = Run(folder=tmp_path)
    run_rounds(Both(), 6, run, Accelerator(cpu=True))
    _, resumed = go(tmp_path, resume=True)
    assert resumed.stopped == "Enough."
    assert len(resumed.history) == 1


def test_a_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        interrupt()
        interrupt()

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, {3: twice})
    task, _ = go(tmp_path, resume=True)
    assert_same_as_unbroken(task, tmp_path)


@pytest.mark.parametrize("every", [1, 2, 4])
def test_cut_off_between_the_log_and_the_checkpoint(every: int, tmp_path: Path) -> None:
    """What a kill leaves: more rounds in the log than in the checkpoint, half a line, a half-written file."""

    def die() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        go(tmp_path, {4: die}, checkpoint_every=every)
    with (tmp_path / HISTORY).open("a") as stream:
        stream.write('{"round": 4, "loss": 1.0}\n{"round": 5, "lo')
    part = tmp_path / f".{CHECKPOINT}.4242.tmp"
    part.write_bytes((tmp_path / CHECKPOINT).read_bytes()[:100])
    task, run = go(tmp_path, resume=True, checkpoint_every=every)
    assert_same_as_unbroken(task, tmp_path)
    assert len(run.history) == 6
    assert not part.exists()


def test_resuming_before_the_first_checkpoint_starts_again(tmp_path: Path) -> None:
    (tmp_path / HISTORY).write_text('{"round": 0, "loss": 1.0}\n')
    task, _ = go(tmp_path, resume=True)
    assert_same_as_unbroken(task, tmp_path)


def test_resuming_a_finished_run_changes_nothing(tmp_path: Path) -> None:
    whole, _ = go(tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    again, run = go(tmp_path, resume=True)
    assert torch.equal(again.weight, whole.weight)
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert rounds_on_disk(tmp_path) == [m["round"] for m in run.history] == list(range(6))


def test_without_resume_a_run_starts_afresh(tmp_path: Path) -> None:
    go(tmp_path)
    _, run = go(tmp_path, total=2)
    assert rounds_on_disk(tmp_path) == [0, 1]
    assert len(run.history) == 2


def test_a_run_object_can_be_used_twice() -> None:
    run = Run()
    run_rounds(Toy({1: Stop("Enough.")}), 6, run, Accelerator(cpu=True))
    assert run.stopped == "Enough."
    run_rounds(Toy(), 6, run, Accelerator(cpu=True))
    assert run.stopped is None
    assert len(run.history) == 6


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_number_that_is_not_finite_stops_and_undoes(bad: float, tmp_path: Path) -> None:
    task, run = go(tmp_path, {3: bad})
    before, _ = go(None, total=3)
    assert run.stopped is not None
    assert "loss became NaN or infinite" in run.stopped
    assert torch.equal(task.weight, before.weight)
    tensors, _ = read_checkpoint(tmp_path / CHECKPOINT)
    assert torch.equal(tensors["parameter.toy.weight"], before.weight)
    lines = (tmp_path / HISTORY).read_text().splitlines()
    assert json.loads(lines[3], parse_constant=pytest.fail)["loss"] is None  # strict JSON
    _, resumed = go(tmp_path, resume=True)
    assert resumed.stopped == run.stopped
    assert math.isnan(resumed.history[3]["loss"])


@pytest.mark.parametrize("undo", [True, False])
def test_a_reason_to_stop_is_kept(undo: bool, tmp_path: Path) -> None:
    task, run = go(tmp_path, {2: Stop("Enough.", undo)})
    wanted, _ = go(None, total=2 if undo else 3)
    assert torch.equal(task.weight, wanted.weight)
    assert run.stopped == "Enough."
    again, resumed = go(tmp_path, resume=True)
    assert resumed.stopped == "Enough."
    assert torch.equal(again.weight, wanted.weight)


def test_warnings_survive_a_resume(tmp_path: Path) -> None:
    task, run = Toy({2: interrupt}), Run(folder=tmp_path)
    task._at[1] = lambda: run.warnings.append("Look out.")
    run_rounds(task, 6, run, Accelerator(cpu=True))
    _, resumed = go(tmp_path, resume=True)
    assert resumed.warnings == ["Look out."]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    go(tmp_path, identity={"model": "a", "prompts": ("x",)})
    go(tmp_path, identity={"model": "a", "prompts": ("x",)}, resume=True)  # a tuple is a list in JSON
    with pytest.raises(UserError, match="another run: model differ"):
        go(tmp_path, identity={"model": "b", "prompts": ("x",)}, resume=True)


def test_a_damaged_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    go(tmp_path)
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    for content in (whole[:-7], whole[:40], b"", b"\x80\x04K\x01.", b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(UserError, match="can't be read"):
            go(tmp_path, resume=True)
    for metadata in (None, {"dipole": "[]"}, {"dipole": "{"}, {"dipole": '{"rounds_done": 1}'}):
        save_file({"a": torch.zeros(1)}, path, metadata)
        with pytest.raises(UserError, match=r"can't be read|training state .* is damaged"):
            go(tmp_path, resume=True)
    path.write_bytes(whole)
    go(tmp_path, resume=True)


def test_a_checkpoint_without_a_parameter_is_refused(tmp_path: Path) -> None:
    go(tmp_path)
    task = Toy()
    task.parameters = {"other": task.weight}
    with pytest.raises(UserError, match="lacks other"):
        run_rounds(task, 6, Run(folder=tmp_path, resume=True), Accelerator(cpu=True))


def test_a_full_disk_is_one_clear_sentence_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UserError, match=rf"{CHECKPOINT}: the disk is full"):
        go(tmp_path, {3: lambda: patch.setattr(os, "fsync", full)})
    _, meta = read_checkpoint(tmp_path / CHECKPOINT)
    assert meta["rounds_done"] == 3
    assert [p.name for p in tmp_path.glob(".*.tmp")] == []
    task, _ = go(tmp_path, resume=True)
    assert_same_as_unbroken(task, tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_while_logging_is_one_clear_sentence(tmp_path: Path) -> None:
    def fill() -> None:
        (tmp_path / HISTORY).unlink()
        (tmp_path / HISTORY).symlink_to("/dev/full")

    with pytest.raises(UserError, match=rf"{HISTORY}: the disk is full"):
        go(tmp_path, {1: fill})


def test_events_are_written_where_tensorboard_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def die() -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        go(tmp_path, {5: die}, checkpoint_every=3)
    time.sleep(1)  # files of events are read in the order of their names, which begin with the second
    go(tmp_path, resume=True)  # does rounds 3 and 4 again
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [event.step for event in events.Scalars("loss")] == list(range(6))
    logged = [json.loads(line)["loss"] for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(logged)


def test_training_goes_on_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    go(tmp_path)
    assert rounds_on_disk(tmp_path) == list(range(6))
    assert not (tmp_path / "tensorboard").exists()


def test_progress_is_told_after_each_round(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    go(tmp_path, on_round=lambda index, total, metrics: told.append((index, total)))
    assert told == [(index, 6) for index in range(6)]
