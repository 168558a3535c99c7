"""Signals that ask a process to end: it cleans up, once, and says so with its exit code."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import pytest

from dipole.files import Ended, _locks, code_of, ended_by_signals, staged

pytestmark = pytest.mark.usefixtures("heard")


def kill(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_removes_what_is_temporary(number: signal.Signals, code: int, tmp_path: Path) -> None:
    def main() -> int:
        with staged(tmp_path / "deep" / "run") as made:
            (made / "half").write_text("")
            kill(number)
        return 0

    before = signal.getsignal(number)
    assert code_of(main) == code
    assert list(tmp_path.iterdir()) == []
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("moment", ["make_parents", "_acquired", "_write"])
def test_a_signal_waits_while_a_lock_is_taken(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the making of a file or folder and the note that it was made."""
    plain = getattr(_locks, moment)

    def then_killed(*arguments: object) -> object:
        made = plain(*arguments)
        kill(signal.SIGTERM)
        return made

    def main() -> int:
        with staged(tmp_path / "deep" / "run"):
            reached.append("the block")
        return 0

    reached: list[str] = []
    monkeypatch.setattr(_locks, moment, then_killed)
    assert code_of(main) == 143
    assert reached == []
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert code_of(main) == 0  # nothing is locked


def test_a_second_signal_does_not_break_off_the_cleaning_up() -> None:
    cleaned = []

    def clean() -> None:
        kill(signal.SIGHUP)
        kill(signal.SIGTERM)
        cleaned.append("all")

    def work() -> None:
        with ended_by_signals(), ExitStack() as stack:
            stack.callback(clean)
            kill(signal.SIGHUP)

    with pytest.raises(Ended) as caught:
        work()
    assert cleaned == ["all"]
    assert caught.value.number == signal.SIGHUP


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """`nohup` ignores SIGHUP for those whom it starts."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            kill(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_ctrl_c_has_its_own_code() -> None:
    assert code_of(lambda: kill(signal.SIGINT) or 0) == 130
