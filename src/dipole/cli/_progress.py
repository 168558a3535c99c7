"""How a command is getting on, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from dipole.cli._console import tell
from dipole.files import is_main_process
from dipole.progress import Progress, silent
from dipole.shown.terminal import one_line

_LINES = 10  # of steps of one kind
_EVERY = 15.0  # seconds between lines about one thing whose end nobody knows


@contextmanager
def progress(quiet: bool) -> Iterator[Progress]:
    """Shows how it is going: a bar on a terminal, some plain lines elsewhere, nothing where it is `quiet`."""
    if quiet or not is_main_process():
        yield silent
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _lines()


def _lines() -> Progress:
    last = ("", -_EVERY)

    def show(what: str, done: int = 0, total: int = 0, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if total:
            if not what or done == total or (done - 1) % max(1, total // _LINES) == 0:
                tell(one_line(f"{_counted(what, done, total)}  {note}".rstrip()))
        elif what != last[0] or now - last[1] > _EVERY:
            last = (what, now)
            tell(one_line(f"{what}, {note} …" if note else f"{what} …"))

    return show


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich import progress as rich
    from rich.console import Console

    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(),
        rich.TextColumn("{task.fields[note]}", markup=False),
        rich.TimeElapsedColumn(),
        rich.TimeRemainingColumn(),
    )
    with rich.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        last: str | None = None

        def show(what: str, done: int = 0, total: int = 0, note: str = "") -> None:
            nonlocal last
            name, note = one_line(_counted(what, done, total) if total else what), one_line(note)
            if what == last:
                bar.update(bar.task_ids[0], description=name, completed=done, total=total or None, note=note)
                return
            last = what
            for row in bar.task_ids:  # one that has a total can't lose it
                bar.remove_task(row)
            bar.add_task(name, completed=done, total=total or None, note=note)
            bar.refresh()

        show("working")
        yield show


def _counted(what: str, done: int, total: int) -> str:
    return f"{what} {done:,}/{total:,}".lstrip()
