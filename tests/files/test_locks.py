"""One command at a time on a folder, who holds it, and locks that nobody holds any more."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dipole.files import claimed, staged
from dipole.types import UserError

HOLD = """
import sys, time
from pathlib import Path
from dipole.files import claimed
with claimed(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the path until its standard input ends."""
    command = [sys.executable, "-c", HOLD, str(path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.communicate()


def lock_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.dipole.lock")


def leave_a_lock(path: Path, **holder: Any) -> Path:
    lock_of(path).write_text(json.dumps(holder))
    return lock_of(path)


@pytest.mark.parametrize("name", ["run", "clips.gguf"])
def test_who_holds_it_is_said_and_nothing_is_left(name: str, tmp_path: Path) -> None:
    with another(tmp_path / name) as other:
        with pytest.raises(UserError) as caught, claimed(tmp_path / name):
            pass
        said = str(caught.value)
        assert f"is in use by process {other.pid} (`-c {tmp_path / name}`)" in said
        assert time.strftime(" since %Y-") in said
        assert "wait until it has ended" in said
        assert [path.name for path in tmp_path.iterdir()] == [lock_of(tmp_path / name).name]
    with claimed(tmp_path / name):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_spellings_of_a_folder_are_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "runs", target_is_directory=True)
    (tmp_path / "clips").symlink_to(tmp_path / "runs" / "clips", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    with another(tmp_path / "runs" / "clips"):
        for spelling in ("runs/clips", "link/clips", "runs/../link/./clips", "clips"):
            with pytest.raises(UserError, match="in use"), staged(Path(spelling)):
                pass


def test_a_second_thread_is_refused_and_a_block_within_a_block_is_not(tmp_path: Path) -> None:
    said: list[str] = []

    def second() -> None:
        try:
            with claimed(tmp_path / "run"):
                said.append("entered")
        except UserError as error:
            said.append(str(error))

    with claimed(tmp_path / "run"):
        with claimed(tmp_path / "run"):
            pass
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"process {os.getpid()}" in said[0]


def test_the_lock_of_a_process_that_was_killed_holds_nobody_up(tmp_path: Path) -> None:
    with another(tmp_path / "run") as other:
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert lock_of(tmp_path / "run").is_file()
    with claimed(tmp_path / "run"):
        assert json.loads(lock_of(tmp_path / "run").read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_process_id_that_another_process_has_by_now_holds_nobody_up(tmp_path: Path) -> None:
    leave_a_lock(tmp_path / "run", pid=os.getppid(), host=socket.gethostname(), since="2020-01-01 00:00:00")
    with claimed(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "[]", "\0", '{"pid": "x"}', "12\n"])
def test_a_lock_that_says_nothing_holds_nobody_up(text: str, tmp_path: Path) -> None:
    lock_of(tmp_path / "run").write_text(text)
    with claimed(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_another_host_can_not_be_judged(tmp_path: Path) -> None:
    lock = leave_a_lock(tmp_path / "run", pid=os.getpid(), host="elsewhere", kernel="another", since="2020")
    for _ in range(2):
        with (
            pytest.raises(UserError, match=r"may be in use by process \d+ on the host elsewhere") as caught,
            claimed(tmp_path / "run"),
        ):
            pass
        assert f"remove {lock}" in str(caught.value)
    with claimed(tmp_path / "other"):  # nor is it cleared up in passing
        pass
    lock.unlink()
    with claimed(tmp_path / "run"):
        pass


@pytest.mark.skipif(not Path("/proc/sys/kernel/random/boot_id").exists(), reason="needs Linux")
def test_another_container_of_this_machine_can_be_judged(tmp_path: Path) -> None:
    kernel = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    leave_a_lock(tmp_path / "run", pid=7, host="container", kernel=kernel, since="2020")
    with claimed(tmp_path / "run"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)
    said: list[str] = []

    def second() -> None:
        try:
            with claimed(tmp_path / "run"):
                pass
        except UserError as error:
            said.append(str(error))

    with claimed(tmp_path / "run"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert f"in use by process {os.getpid()}" in said[0]
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_is_cleared_up_and_what_is_alive_or_the_users_stays(
    tmp_path: Path,
) -> None:
    mine = [".run.tmp", "run.dipole.tmp", ".run.0123abcd.tmp", ".other.lock", ".run.backup.dipole.tmp"]
    for name in mine:
        (tmp_path / name).write_text("mine")
    for name in (".run.0123abcd.dipole.tmp", ".killed.0123abcd.dipole.tmp", ".alive.0123abcd.dipole.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("")
    (tmp_path / ".clips.gguf.0123abcd.dipole.tmp").write_text("half")
    leave_a_lock(tmp_path / "gone", pid=1, host=socket.gethostname())
    with another(tmp_path / "alive"):
        (tmp_path / ".alive.0123abcd.dipole.tmp").mkdir()
        with claimed(tmp_path / "run"):
            pass
        left = [lock_of(tmp_path / "alive").name, ".alive.0123abcd.dipole.tmp"]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*mine, *left])


def test_a_folder_whose_parent_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write anywhere, so what the system says is faked."""
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)
    with staged(folder) as made:
        assert made.parent == folder
    assert [path.name for path in folder.iterdir()] == [".dipole-run"]
