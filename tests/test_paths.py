"""Paths that a user gave: what they mean, and those that lead nowhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from dipole.files.paths import given_file, given_path, same_place, tell_shadowed
from dipole.types import DipoleWarning, UserError

BAD: dict[str, tuple[str, str]] = {
    "empty": ("", "empty string"),
    "blank": (" \t", "empty string"),
    "NUL": ("a\0b", "NUL"),
    "nobody": ("~nobody-of-that-name/x", "home folder"),
    "circle": ("circle", "leads back to itself"),
    "through a circle": ("circle/x", "leads back to itself"),
    "too long": ("n" * 5000, "too long"),
    "a long name": ("x/" + "n" * 300, "too long"),
}
ODD = {
    "pipe": "a pipe",
    "socket": "a socket",
    "/dev/null": "a device",
    "folder": "is a folder",
    "dangling": r"no file 'dangling' \(it is a link to 'nowhere'\)",
    "absent": "no file 'absent'",
    "plain/x": "no file 'plain/x'",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one of everything."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    os.symlink("circle", "circle")
    os.symlink("nowhere", "dangling")
    os.symlink("plain", "link")
    os.mkfifo("pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "plain").write_text("text")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    return tmp_path


@pytest.mark.parametrize("take", [given_path, given_file])
@pytest.mark.parametrize("case", BAD)
def test_what_can_be_no_path(case: str, take: Callable[[str, str], Path], place: Path) -> None:
    text, words = BAD[case]
    with pytest.raises(UserError, match=f"^The corpus .*{words}"):
        take(text, "The corpus")


@pytest.mark.parametrize("text", ODD)
def test_what_is_no_file(text: str, place: Path) -> None:
    assert given_path(text) == Path(text)  # something else may be made of it
    with pytest.raises(UserError, match=ODD[text]):
        given_file(text)


@pytest.mark.parametrize("text", ["plain", "./plain", "plain/", "link", "x/../plain", "a\nb", "a\udcff"])
def test_what_is_a_file(text: str, place: Path) -> None:
    Path(text).write_text("text")
    assert given_file(text).read_text() == "text"
    assert given_path(Path(text)) == Path(text)


def test_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    assert given_file("~/plain") == place / "plain"
    # A folder that is really called so; and what was expanded is not expanded again.
    (place / "~x").mkdir()
    assert given_path("./~x") == place / "~x"
    assert given_path(given_path("./~x")) == place / "~x"


def test_no_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))
    with pytest.raises(UserError, match="home folder of somebody who has none"):
        given_path("~/plain")
    assert given_path("plain") == Path("plain")


def test_no_permission(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Path) -> os.stat_result:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", closed)  # root may look everywhere
    with pytest.raises(UserError, match="permission denied"):
        given_path("folder/x")


def test_one_place_by_two_names(place: Path) -> None:
    assert same_place("x/../plain", place / "link")
    assert same_place("dangling", "nowhere")
    assert not same_place("plain", "x")


def test_a_shadowed_name_is_told(place: Path) -> None:
    tell_shadowed("tiny", "the bundled LM")
    (place / "tiny").mkdir()
    with pytest.warns(DipoleWarning, match=r"the folder of that name .* is \./tiny"):
        tell_shadowed("tiny", "the bundled LM")
