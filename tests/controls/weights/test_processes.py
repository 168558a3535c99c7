"""Training in several processes, and in one that is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from architectures import fresh_tiny_model
from controls.weights import worker
from controls.weights.small import Letters, Plain, fitted, largest_difference, small
from dipole.controls.weights.checkpoint import read_checkpoint
from dipole.files import CHECKPOINT, HISTORY
from dipole.protocols import Run
from tolerance import GRADIENT

WORKER = Path(worker.__file__)


def environment(repository: Path, **more: str) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    paths = [str(repository / "src"), inherited.get("PYTHONPATH", "")]
    return {**inherited, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1", **more}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def two_processes(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes wrote that trained together, over gloo, as `accelerate launch --cpu` starts them."""
    out = tmp_path_factory.mktemp("two")
    place = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(WORKER), "together", str(out)],
            env=environment(
                repository, **place, RANK=str(rank), LOCAL_RANK=str(rank), ACCELERATE_USE_CPU="true"
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        said = [process.communicate(timeout=600)[0] for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert [process.returncode for process in started] == [0, 0], "\n".join(said)
    return out


@pytest.mark.parametrize(("architecture", "case"), worker.PAIRS)
def test_gradients_equal_those_of_one_process(architecture: str, case: str, two_processes: Path) -> None:
    wanted = worker.gradients_in(case, architecture)
    assert all(step.keys() == wanted[0].keys() for step in wanted)
    for rank in range(2):
        flat = load_file(two_processes / f"{architecture}-{case}-{rank}.safetensors")
        assert len(flat) == len(wanted) * len(wanted[0])
        found = [{name: flat[f"{step}.{name}"] for name in named} for step, named in enumerate(wanted)]
        assert largest_difference(wanted, found) < GRADIENT


def test_processes_end_with_the_same_adapter(two_processes: Path) -> None:
    one, other = (load_file(two_processes / f"fit-{rank}.safetensors") for rank in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert any(tensor.abs().max() > 0 for name, tensor in one.items() if "lora_B" in name)


def test_the_main_process_alone_writes(two_processes: Path) -> None:
    assert (two_processes / "run-0" / CHECKPOINT).is_file()
    assert (two_processes / "run-0" / HISTORY).is_file()
    assert list((two_processes / "run-1").iterdir()) == []


@pytest.mark.parametrize(("mode", "rounds_done"), [("round", 2), ("write", 2)])
def test_killed_and_resumed_is_the_same_bit_for_bit(
    mode: str, rounds_done: int, repository: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(WORKER), "killed", str(tmp_path), mode],
        env=environment(repository),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert read_checkpoint(tmp_path / CHECKPOINT)[1]["rounds_done"] == rounds_done
    assert len(list(tmp_path.glob(".*.tmp"))) == (mode == "write")
    ppo = small(rounds=4)
    unbroken = fitted(ppo, fresh_tiny_model("gpt2"), Plain(), Letters())
    run = Run(folder=tmp_path, resume=True)
    resumed = fitted(ppo, fresh_tiny_model("gpt2"), Plain(), Letters(), run)
    assert all(torch.equal(unbroken.state[name], resumed.state[name]) for name in unbroken.state)
    assert [int(metrics["round"]) for metrics in run.history] == [0, 1, 2, 3]
    assert list(tmp_path.glob(".*.tmp")) == []
