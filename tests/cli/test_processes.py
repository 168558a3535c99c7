"""The command line as a process of its own: pipes, full disks, signals."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.conftest import POLES

LONG = ("--rounds", "24", "--batch-size", "8", "--max-new-tokens", "4", "-n", "4", "--bystanders", "none")
ARGUMENTS = ("inoculate", *POLES, *LONG)
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


@pytest.fixture(scope="module")
def unbroken(model: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that nobody broke off."""
    out = tmp_path_factory.mktemp("unbroken") / "run"
    process = start(*ARGUMENTS, "--model", model, "--out", out)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    return weights(out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_run_that_replaces_another_and_is_broken_off(
    number: signal.Signals, code: int, model: Path, trained: Path, unbroken: bytes, tmp_path: Path
) -> None:
    """The old one stays, whole, until the new one is; the new one goes on where it was."""
    broken = tmp_path / "runs" / "broken"
    shutil.copytree(trained, broken)
    (broken / "notes.txt").write_text("mine")
    process = start(*ARGUMENTS, "--model", model, "--out", broken, "--overwrite")
    wait_for_round(broken / ".dipole-next", 3)
    process.send_signal(signal.SIGSTOP)  # else it might end while the second one starts
    second = start("inoculate", "--resume", "--out", broken)
    assert "is in use by process" in second.communicate(timeout=300)[1]
    assert second.returncode == 2
    process.send_signal(number)
    process.send_signal(signal.SIGCONT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    if number == signal.SIGINT:  # measured and reported, so it is whole
        assert "Interrupted after" in out
        assert (broken / "report.html").is_file()
        assert weights(broken) not in (weights(trained), unbroken)
    else:
        assert weights(broken) == weights(trained)
        assert (broken / "effect.json").read_bytes() == (trained / "effect.json").read_bytes()
    if number != signal.SIGKILL:
        assert [path.name for path in broken.parent.iterdir()] == ["broken"]
    resumed = start("inoculate", "--resume", "--out", broken)
    _, err = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, err
    assert weights(broken) == unbroken
    assert len((broken / "history.jsonl").read_text().splitlines()) == 24
    assert (broken / "notes.txt").read_text() == "mine"
    assert not (broken / ".dipole-next").exists()
    assert [path.name for path in broken.parent.iterdir()] == ["broken"]
