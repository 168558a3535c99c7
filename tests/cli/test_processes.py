"""The command line as a process of its own: pipes, full disks, signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import POLES

LONG = ("--rounds", "40", "--batch-size", "8", "--max-new-tokens", "4", "-n", "4", "--bystanders", "none")
COMMAND = (sys.executable, "-m", "dipole")


def start(*arguments: object, **options: object) -> subprocess.Popen[str]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.Popen(  # type: ignore[call-overload, no-any-return]
        command, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    )


def wait_for_round(run: Path, rounds: int) -> None:
    history = run / "history.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if history.is_file() and len(history.read_text().splitlines()) >= rounds:
            return
        time.sleep(0.02)
    raise AssertionError(f"{rounds} rounds did not come")


def weights(run: Path) -> bytes:
    return (run / "adapter" / "adapter_model.safetensors").read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_output_on_a_full_disk() -> None:
    with open("/dev/full", "w") as full:
        process = start("dipoles", stdout=full)
        _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert err.startswith("dipole: Can't write the results to standard output")
    assert err.count("\n") == 1


def test_a_reader_who_goes_away() -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("dipoles", "--json", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (141, "")


def test_a_terminal_without_unicode() -> None:
    process = start("score", "--help", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")
    assert "TEXT" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_is_broken_off_ends_with_the_same_weights(
    number: signal.Signals, model: Path, tmp_path: Path
) -> None:
    arguments = ("inoculate", *POLES, *LONG, "--model", model)
    unbroken = start(*arguments, "--out", tmp_path / "unbroken")
    assert unbroken.communicate(timeout=600) is not None
    assert unbroken.returncode == 0
    broken = start(*arguments, "--out", tmp_path / "broken")
    wait_for_round(tmp_path / "broken", 3)
    broken.send_signal(number)
    out, err = broken.communicate(timeout=600)
    if number == signal.SIGINT:
        assert broken.returncode == 130, err
        assert "Interrupted after" in out
        assert (tmp_path / "broken" / "report.html").is_file()
        assert weights(tmp_path / "broken") != weights(tmp_path / "unbroken")
    else:
        assert broken.returncode == -signal.SIGKILL
    resumed = start("inoculate", "--resume", "--out", tmp_path / "broken")
    _, err = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, err
    assert weights(tmp_path / "broken") == weights(tmp_path / "unbroken")
    lines = (tmp_path / "broken" / "history.jsonl").read_text().splitlines()
    assert len(lines) == 40
