"""How a command says how it is getting on."""

from __future__ import annotations

import io
import sys

import pytest

from dipole.cli._progress import progress


class Terminal(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(("total", "shown"), [(4, [1, 2, 3, 4]), (100, [*range(1, 100, 10), 100])])
def test_steps_of_a_kind_are_about_ten_lines(
    total: int, shown: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress(quiet=False) as show:
        for number in range(1, total + 1):
            show("round", number, total, f"reward {number / 10:.1f}")
    assert said(capsys) == [f"round {number}/{total}  reward {number / 10:.1f}" for number in shown]


def test_each_step_with_a_name_of_its_own_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=False) as show:
        for number in range(1, 31):
            show("", number, 30, f"fitting {number}")
    assert said(capsys) == [f"{number}/30  fitting {number}" for number in range(1, 31)]


def test_what_has_no_known_end_is_told_when_it_begins_and_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 101.0, 116.0, 117.0])
    monkeypatch.setattr("dipole.cli._progress.time.monotonic", lambda: next(clock))
    with progress(quiet=False) as show:
        show("reading")
        show("reading", note="3 documents")  # a second later
        show("reading", note="9 documents")  # much later
        show("weighing")
    assert said(capsys) == ["reading …", "reading, 9 documents …", "weighing …"]


def test_names_from_outside_do_no_harm(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(quiet=False) as show:
        show("reading a\x1b[31m\nb")
        show("", 1, 2, "a\x1b[31m\nb")
    assert said(capsys) == ["reading a\\x1b[31m\\nb …", "1/2  a\\x1b[31m\\nb"]


@pytest.mark.parametrize("rank", ["0", "1"])
def test_nothing_is_said_where_it_is_quiet_or_by_other_processes(
    rank: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", rank)
    with progress(quiet=rank == "0") as show:
        show("reading")
        show("round", 1, 1)
    assert said(capsys) == []


def test_a_terminal_has_a_bar_that_goes_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal, drawn = Terminal(), list[str]()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress(quiet=False) as show:
        assert "working" in terminal.getvalue()
        for step in (("reading [bold]x[/]\n",), ("round", 2, 4, "KL [1]"), ("saving",)):
            terminal.truncate(0)
            show(*step)
            drawn.append(terminal.getvalue())
    assert "reading [bold]x[/]\\n" in drawn[0]
    assert "round 2/4" in drawn[1]
    assert "KL [1]" in drawn[1]
    assert "saving" in drawn[2]
    assert "round" not in drawn[2]
    assert terminal.getvalue().endswith("\x1b[2K")  # its line is wiped
