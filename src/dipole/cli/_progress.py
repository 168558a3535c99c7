"""How a run is going, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from dipole.cli._console import tell
from dipole.files import is_main_process

OnRound = Callable[[int, int, dict[str, float]], None]
_LINES = 10
_MEASURING = "measuring before and after"


@contextmanager
def progress(quiet: bool, after: str = _MEASURING) -> Iterator[OnRound | None]:
    """A function to call after each round: draws a bar on a terminal, prints some plain lines elsewhere.

    Args:
        quiet: Show nothing.
        after: What happens after the last round, in a few words.
    """
    if quiet or not is_main_process():
        yield None
    elif sys.stderr.isatty():
        with _bar(after) as on_round:
            yield on_round
    else:
        yield partial(_line, after)


def steps(quiet: bool) -> Callable[[int, int, str], None] | None:
    """A function to call before each step of a comparison; None where nothing is to be shown."""

    def on_step(done: int, total: int, what: str) -> None:
        tell(f"{done + 1}/{total}  {what}")

    return None if quiet else on_step


@contextmanager
def counted(what: str) -> Iterator[Callable[[int], None]]:
    """A function that takes how many more are done: a count on a terminal, where nothing else is printed.

    Args:
        what: What is counted, in a few words.
    """
    if not sys.stderr.isatty() or sys.stdout.isatty() or not is_main_process():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,.0f} {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=None)
        yield lambda more: shown.advance(task, more)


def _line(after: str, index: int, total: int, metrics: dict[str, float]) -> None:
    last = index + 1 == total
    if last or index % max(1, total // _LINES) == 0:
        tell(f"round {index + 1}/{total}  {_numbers(metrics)}")
    if last:
        tell(f"{after} …")


def _numbers(metrics: dict[str, float]) -> str:
    shown = {"reward_mean": "reward {:.3f}", "kl": "KL {:.2f} nats", "loss": "loss {:.3f} nats a token"}
    return "  ".join(text.format(metrics[name]) for name, text in shown.items() if name in metrics)


@contextmanager
def _bar(after: str) -> Iterator[OnRound]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[numbers]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("first round", total=None, numbers="")

        def on_round(index: int, total: int, metrics: dict[str, float]) -> None:
            name = f"round {index + 1}/{total}"
            bar.update(task, description=name, completed=index + 1, total=total, numbers=_numbers(metrics))
            if index + 1 == total:
                bar.add_task(after, total=None, numbers="")

        yield on_round
