"""Whose turn it is with a resident model: one piece of running code at a time.

Adapters and hooks are put into the one model for the length of a call, so two calls that ran at the same
time would each see what the other put there. A turn is taken around everything of that kind. Other threads
wait for its end, first come, first served; what is called inside a turn (a judge that reads with the base
while a policy is engaged) takes a turn nested in it.

What is inside is told by context variables and not by the thread: two asyncio tasks share a thread, and one
that waits for the other's turn there would wait for ever. Such a call is refused, and so are the others
whose wait could not end: see `Turns.take`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from dipole.types import UserError

_LOOK_AGAIN = 1.0  # seconds between looks at whether whoever has the turn still lives


def process_lock() -> threading.RLock:
    """A lock for short stretches, which a fork waits for, so that no child finds it held for ever."""
    lock = threading.RLock()
    os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock


@dataclass(eq=False)
class _Turn:
    """One turn.

    Attributes:
        turns: Of which model.
        outer: The innermost turn, of any model, that was open where this one was taken.
        below: The turn of the same model that this one is nested in.
        thread: Which thread took it.
        open: Whether it is still going on.
    """

    turns: Turns
    outer: _Turn | None
    thread: threading.Thread
    below: _Turn | None = None
    open: bool = True


_LOCK = process_lock()
_CHANGED = threading.Condition(_LOCK)
_WAITING: dict[threading.Thread, Turns] = {}
_INNERMOST: ContextVar[_Turn | None] = ContextVar("dipole_innermost_turn", default=None)


class Turns:
    """The turns of one resident model."""

    def __init__(self) -> None:
        """Nobody has the turn."""
        self._top: _Turn | None = None
        self._queue: deque[_Turn] = deque()

    @contextmanager
    def take(self, name: str) -> Iterator[None]:
        """Have the model to oneself for the length of a `with` block, after all who came before.

        Args:
            name: Of the model, for messages.

        Raises:
            UserError: The turn could never come: another task or generator of this very thread has it, the
                thread that had it is gone (it ended, or this process was forked from its), or it waits in
                turn for a model that this thread has. Also when the block ends while another that was
                opened in it has not.
        """
        turn = self._enter(name)
        try:
            yield
        finally:
            self._leave(turn, name)

    def _enter(self, name: str) -> _Turn:
        turn = _Turn(self, _open_in_context(), threading.current_thread())
        with _CHANGED:
            self._queue.append(turn)
            try:
                while not self._is_next(turn):
                    self._refuse_for_ever(turn, name)
                    _WAITING[turn.thread] = self
                    _CHANGED.wait(_LOOK_AGAIN)
            finally:
                _WAITING.pop(turn.thread, None)
                self._queue.remove(turn)
                _CHANGED.notify_all()
            turn.below, self._top = self._top, turn
        _INNERMOST.set(turn)
        return turn

    def _is_next(self, turn: _Turn) -> bool:
        if self._top is None:
            return self._queue[0] is turn
        inside = turn.outer
        while inside is not None and not (inside.open and inside.turns is self):
            inside = inside.outer
        return inside is self._top

    def _refuse_for_ever(self, turn: _Turn, name: str) -> None:
        """Raise where waiting would never end."""
        top = self._top
        if top is None:
            return
        if top.thread is turn.thread:
            raise UserError(
                f"{name} is engaged by another task or generator of this thread, which would never go on if "
                "this call waited for it; let that one leave its `with` block first, or load the model twice."
            )
        if not top.thread.is_alive():
            raise UserError(
                f"{name} was engaged by a thread that is no longer there (it ended inside its `with` block, "
                "or this process was forked meanwhile), so the model is not the base; load it again."
            )
        seen, thread = {self}, top.thread
        while (wanted := _WAITING.get(thread)) is not None and wanted not in seen:
            holder = wanted._top
            if holder is None:
                return
            if holder.thread is turn.thread:
                raise UserError(
                    f"This thread and the one that has engaged {name} wait for each other's model; engage "
                    "the two models in the same order everywhere."
                )
            seen.add(wanted)
            thread = holder.thread

    def _leave(self, turn: _Turn, name: str) -> None:
        with _CHANGED:
            turn.open = False
            in_order = self._top is turn
            while self._top is not None and not self._top.open:
                self._top = self._top.below
            _CHANGED.notify_all()
        if _INNERMOST.get() is turn:
            _INNERMOST.set(turn.outer)
        if not in_order:
            raise UserError(
                f"A `with` block that engaged {name} ended before one that was opened inside it, so what was "
                "read in it meanwhile may have been steered by the inner one; leave the inner one first."
            )


def _open_in_context() -> _Turn | None:
    turn = _INNERMOST.get()
    while turn is not None and not turn.open:
        turn = turn.outer
    return turn
