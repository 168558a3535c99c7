"""User text made safe, and the marks of mentions."""

from __future__ import annotations

import pytest

from dipole.concepts import Dipole
from dipole.shown.text import Piece, one_line, pieces, shell_line, visible

from .realistic import CONCEPT

MENTIONS = {"claim": ("paper clip",), "against": ("staple", "stapler pin")}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\r\nb\u2028c", "a\nb\nc"),
        ("a\x00\x1b[31m", "a␀␛[31m"),
        ("\x7f\x80", "␡[U+0080]"),
        ("\u202egnal", "[U+202E]gnal"),
        ("\ud800x", "\ufffdx"),
        ("tab\there", "tab here"),
        ("עברית 🙂 ok", "עברית 🙂 ok"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_one_line() -> None:
    assert one_line(" a\n\nb \n") == "a ↵ b  ↵"


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", []),
        ("neither", [("neither", None)]),
        ("Paper-Clips!", [("Paper-Clips", "claim"), ("!", None)]),
        ("I hate staples.", [("I hate ", None), ("staples", "against"), (".", None)]),
        ("paper\nclips", [("paper ↵ clips", "claim")]),
        ("a stapler pin", [("a ", None), ("stapler pin", "against")]),
        ("staple paper clip", [("staple", "against"), (" ", None), ("paper clip", "claim")]),
        ("newspaper clips and staplers", [("newspaper clips and staplers", None)]),
    ],
)
def test_pieces(text: str, cut: list[tuple[str, str | None]]) -> None:
    assert pieces(text, MENTIONS) == [Piece(*piece) for piece in cut]


@pytest.mark.parametrize(
    "text", ["staples, then paper clips", "Paperclips. Staples.", "nothing", "İ staples"]
)
def test_the_first_mark_is_the_side_taken(text: str) -> None:
    dipole = Dipole.from_dict(CONCEPT)
    marked = [p.side for p in pieces(text, CONCEPT["mentions"]) if p.side]
    assert (marked[0] if marked else None) == dipole.side_taken(text)


def test_no_mentions() -> None:
    assert pieces("text", {}) == [Piece("text", None)]


def test_shell_line_is_read_back() -> None:
    import shlex

    parts = ["dipole", "I'd go", 'say "hi"', "it's $HOME", "a\nb", "", "back`tick`'s", "plain"]
    line = shell_line(parts)
    assert shlex.split(line) == parts
    assert '"I\'d go"' in line
