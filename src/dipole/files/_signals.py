"""An end that is asked for from outside (`kill`, a closed terminal) cleans up as any other end does."""

from __future__ import annotations

import signal
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
