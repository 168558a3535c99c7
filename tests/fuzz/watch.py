"""What happens while an edited artefact is used: how it ends, how long it takes, and what it touches."""

from __future__ import annotations

import os
import random
import signal
import sys
import sysconfig
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from dipole.types import UserError
from fuzz.artefacts import ARTEFACTS, copy_of, model_folder
from fuzz.edits import edit

LIMIT = 10
_REPOSITORY = Path(__file__).resolve().parents[2]
# Where the interpreter, its packages and this project lie, and what the kernel tells.
_LIBRARIES = [
    *(os.path.realpath(p) for p in {*sysconfig.get_paths().values(), sys.base_prefix, sys.prefix}),
    *(str(_REPOSITORY / part) for part in ("src", "tests")),
    *("/proc", "/sys", "/usr", "/lib", "/etc/ld.so.cache", "/dev/null", "/dev/urandom", "/dev/shm"),
]
_OPENS = ("open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rmdir", "os.rename", "os.symlink")
_OTHERS = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "pickle.find_class",
)
_touched: list[str] | None = None


class Outcome(NamedTuple):
    """How the use of one edited artefact ended.

    Attributes:
        kind: Of the artefact.
        number: Of the edit; with the seed it makes the edit again.
        edit: What was done to it.
        refused: What the user was told; empty where it could be used.
        wrong: What must not happen; empty where nothing did.
    """

    kind: str
    number: int
    edit: str
    refused: str
    wrong: str


class Hang(BaseException):
    """It takes too long."""


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _touched is None:
        return
    if event in _OTHERS and not event.startswith("pickle"):
        _touched.append(f"{event} {str(args)[:200]}")
    elif event in _OPENS and args and isinstance(args[0], str | bytes | os.PathLike):
        _touched.append(os.fsdecode(args[0]))


@contextmanager
def _watched() -> Iterator[list[str]]:
    global _touched
    found: list[str] = []
    _touched = found
    try:
        yield found
    finally:
        _touched = None


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def ring(_signal: int, _frame: FrameType | None) -> None:
        raise Hang(f"it took more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _outside(path: str, allowed: Sequence[str]) -> bool:
    real = os.path.realpath(path)
    return not any(real == place or real.startswith(place + os.sep) for place in allowed)


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def use(act: Callable[[Path], None], folder: Path, allowed: Sequence[str]) -> tuple[str, str]:
    """Use an artefact: what the user was told, and what must not happen."""
    refused = wrong = ""
    with _watched() as touched, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _limited(LIMIT):
                act(folder)
        except UserError as error:
            refused = str(error)
        except Hang as error:
            wrong = str(error)
        except (Exception, SystemExit) as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            wrong = f"{type(error).__name__}: {str(error)[:200]} ({place.filename}:{place.lineno})"
    beyond = [p for p in touched if " " not in p[:16] and _outside(p, [*_LIBRARIES, *allowed])]
    beyond += [p for p in touched if p.startswith(tuple(f"{event} " for event in _OTHERS))]
    if beyond and not wrong:
        wrong = f"touched {beyond[0]}"
    if refused and ("\n" in refused or len(refused) > 2000):
        wrong = wrong or f"said {refused[:300]!r}"
    return refused, wrong


class Bench:
    """Whole artefacts of all kinds, to be copied and edited."""

    def __init__(self, place: Path) -> None:
        """Write one of each."""
        self.place = place
        self.around = place / "around"
        self.around.mkdir(parents=True)
        (self.around / "other").write_text("{}")
        for kind, artefact in ARTEFACTS.items():
            artefact.write(place / "whole" / kind)

    def run(self, number: int, seed: int, kind: str | None = None) -> Outcome:
        """Make one edit and use what it leaves."""
        kinds = sorted(ARTEFACTS)
        kind = kind or kinds[number % len(kinds)]
        rng = random.Random(f"{seed} {kind} {number}")
        with tempfile.TemporaryDirectory(dir=self.place) as scratch:
            folder = copy_of(self.place / "whole" / kind, Path(scratch) / "edited")
            said = edit(folder, self.around, rng)
            before = _snapshot(self.around)
            refused, wrong = self.use(kind, folder)
            if not wrong and _snapshot(self.around) != before:
                wrong = "changed something beside the folder"
            for path in self.around.iterdir():
                if path.name != "other":
                    path.unlink()
        return Outcome(kind, number, said, refused, wrong)

    def use(self, kind: str, folder: Path) -> tuple[str, str]:
        """Use an artefact of that kind, with a place of its own for temporary files."""
        with tempfile.TemporaryDirectory(dir=self.place) as scratch:
            before, tempfile.tempdir = tempfile.tempdir, scratch
            try:
                # An LM is read from where its model lies.
                allowed = [folder, Path(scratch), Path(model_folder())]
                return use(ARTEFACTS[kind].use, folder, [os.path.realpath(p) for p in allowed])
            finally:
                tempfile.tempdir = before
