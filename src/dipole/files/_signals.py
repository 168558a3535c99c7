"""An end that is asked for from outside (`kill`, a closed terminal) cleans up as any other end does."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# A closed terminal and its shell each send one; the second must not break off the cleaning up.
_DEAF_SECONDS = 10.0


class Ended(BaseException):
    """This process was asked to end.

    Attributes:
        number: The signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def code(self) -> int:
        """The exit code, as shells report it."""
        return 128 + self.number


class _Pause:
    """Blocks that must not be broken off half-way, and the signal that came meanwhile (0 for none)."""

    def __init__(self) -> None:
        self.open = 0
        self.waiting = 0


_pause = _Pause()


@contextmanager
def undisturbed() -> Iterator[None]:
    """A short `with` block that an end asked for from outside does not break off; it comes right after.

    What must be undone is taken, and noted as taken, inside one such block.
    """
    if threading.current_thread() is not threading.main_thread():  # no other thread is sent a signal
        yield
        return
    _pause.open += 1
    try:
        yield
    finally:
        _pause.open -= 1
        if _pause.waiting and not _pause.open:
            number, _pause.waiting = _pause.waiting, 0
            raise Ended(number)


def code_of(main: Callable[[], int]) -> int:
    """Run a command; its exit code, or that of the signal or the Ctrl-C which ended it."""
    try:
        with ended_by_signals():
            return main()
    except Ended as ended:
        return ended.code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Raise `Ended` in a `with` block for SIGTERM and SIGHUP; one that is ignored (`nohup`) stays so."""
    first = 0.0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal first
        del frame
        now = time.monotonic()
        if first and now - first < _DEAF_SECONDS:
            return
        first = now
        if _pause.open:
            _pause.waiting = number
            return
        raise Ended(number)

    previous = {}
    try:
        for number in _SIGNALS:
            if signal.getsignal(number) == signal.SIG_DFL:
                previous[number] = signal.signal(number, handler)
    except ValueError:  # not in the main thread, where signals can't be caught
        pass
    try:
        yield
    finally:
        for number, old in previous.items():
            signal.signal(number, old)
