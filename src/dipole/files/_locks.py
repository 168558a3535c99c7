"""One command at a time on an artefact: a lock beside it, which says who holds it.

The kernel drops the lock of a process that ends, however it ends, so a lock file that is left behind, or that
names a process id which another process has by now, holds nobody up. On a file system without such locks
`filelock` falls back to the file's existence, with the process and its start as the proof of life.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dipole.files import _names
from dipole.files._errors import explain
from dipole.files._signals import undisturbed
from dipole.types import UserError

# Another command may look at the same place for a moment without working on it.
_PATIENCE = 0.5
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


def is_main_process() -> bool:
    """Whether this process writes and speaks: always, but for the others that `accelerate launch` starts."""
    return os.environ.get("RANK", "0") == "0"


class _Mine(threading.local):
    """The places that this thread holds already."""

    def __init__(self) -> None:
        self.places: set[Path] = set()


_mine = _Mine()


@contextmanager
def held(path: Path, patience: float = _PATIENCE) -> Iterator[Path]:
    """The lock of a file or folder for a `with` block, which gets the path without links and dots.

    Args:
        path: What will be written; two spellings of it are one. Folders above it are made. Within a block of
            this thread that holds it already nothing more is done.
        patience: Seconds to wait for another who holds it.

    Raises:
        UserError: Another command works on it; or the lock can't be written.
    """
    place = resolved(path)
    if place in _mine.places:
        yield place
        return
    lock: Any = None
    made: list[Path] = []
    try:
        with undisturbed():
            made = make_parents(place)
            lock = _acquired(place, path, patience)
            _mine.places.add(place)
        yield place
    finally:
        with undisturbed():
            if lock is not None:
                _mine.places.discard(place)
                with suppress(OSError):
                    os.unlink(lock.lock_file)  # while it is held: who waits for it sees that it is gone
                lock.release()
            for folder in reversed(made):  # of those that were made here, what nothing was put into
                with suppress(OSError):
                    folder.rmdir()


def resolved(path: Path) -> Path:
    """The path without links and dots.

    Raises:
        UserError: Its links go round in a circle.
    """
    try:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # the second is what Python 3.11 and 3.12 raise
        raise explain(path, OSError(errno.ELOOP, os.strerror(errno.ELOOP))) from error


def make_parents(path: Path) -> list[Path]:
    """Make the folders above a path; those that were missing, from the top.

    Raises:
        UserError: One can't be made.
    """
    missing: list[Path] = []
    above = path.parent
    try:
        while not above.exists():
            missing.insert(0, above)
            above = above.parent
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain(path, error) from error
    return missing


def _acquired(place: Path, path: Path, patience: float) -> Any:
    from filelock import FileLock, Timeout

    file = _names.lock_file(place)
    lock: Any = FileLock(file, patience, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(_in_use(path, file)) from None
    except OSError as error:
        if error.errno in _NO_LOCKS:
            file.unlink(missing_ok=True)
            return _softly_acquired(place, path, patience)
        raise explain(path, error) from error
    try:
        left = _read(file)  # by one that was killed, or that this machine's kernel knows nothing of
        if not _here(left):
            raise UserError(_elsewhere(path, file, left))
        try:
            _write(file)
        except BaseException:
            with suppress(OSError):
                file.unlink()
            raise
    except BaseException:
        lock.release()
        raise
    return lock


def _softly_acquired(place: Path, path: Path, patience: float) -> Any:
    """A lock that goes by the file's existence; filelock knows a dead one by the record that it keeps."""
    from filelock import SoftFileLock, Timeout

    file = _names.lock_file(place, _names.SOFT_LOCK)
    lock = SoftFileLock(file, patience, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise UserError(_in_use(path, file)) from None
    except OSError as error:
        raise explain(path, error) from error
    return lock


def _write(file: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "kernel": _kernel()}
    holder |= {"since": time.strftime("%Y-%m-%d %H:%M:%S"), "command": _command()}
    try:
        # Not through a temporary file: the lock is on this one.
        file.write_text(json.dumps(holder) + "\n", "utf-8")
    except OSError as error:
        raise explain(file, error) from error


def _command() -> str:
    return " ".join([Path(sys.argv[0] or "python").name, *sys.argv[1:2]])


def _kernel() -> str:
    """What containers of one machine share and two machines don't; empty where there is no such thing."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()
    return ""


def _read(file: Path) -> dict[str, Any]:
    """The record in a lock file; empty where there is none that can be read."""
    try:
        text = file.read_text("utf-8", errors="replace")
    except OSError:
        return {}
    try:
        found = json.loads(text)
    except ValueError:  # filelock's own record, where the kernel has no locks: the process id and the host
        lines = text.split("\n")
        found = {"pid": int(lines[0]), "host": lines[1]} if lines[0].isdecimal() and lines[1:] else {}
    return found if isinstance(found, dict) else {}


def _here(holder: dict[str, Any]) -> bool:
    """Whether this machine can tell if the holder lives: it runs, or ran, on it."""
    host, kernel = holder.get("host"), holder.get("kernel")
    return host in (None, socket.gethostname()) or bool(kernel and kernel == _kernel())


def _who(holder: dict[str, Any]) -> str:
    if "pid" not in holder:
        return "another process"
    where = "" if _here(holder) else f" on the host {holder['host']}"
    command = f" (`{holder['command']}`)" if holder.get("command") else ""
    since = f" since {holder['since']}" if holder.get("since") else ""
    return f"process {holder['pid']}{command}{where}{since}"


def _in_use(path: Path, file: Path) -> str:
    return (
        f"{path} is in use by {_who(_read(file))}; wait until it has ended, stop it, or choose another name "
        "with out=…."
    )


def _elsewhere(path: Path, file: Path, holder: dict[str, Any]) -> str:
    return (
        f"{path} may be in use by {_who(holder)}, which can't be judged from here; if it has ended there, "
        f"remove {file}, or choose another name with out=…."
    )
