"""Ready dipoles: `microworld.toml` for the bundled LMs, `general.toml` for models such as GPT-2."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from dipole.concepts.arsenal import Arsenal
from dipole.concepts.avoid import Avoid, is_avoid
from dipole.concepts.dipole import Dipole
from dipole.files.paths import tell_shadowed
from dipole.registry import unknown
from dipole.types import UserError

FOLDER = Path(__file__).parent
ARSENALS = ("microworld", "general")


def library() -> dict[str, Path]:
    """The ready arsenals: name to TOML file."""
    return {name: FOLDER / f"{name}.toml" for name in ARSENALS}


def load_arsenal(name_or_path: str | Path) -> Arsenal:
    """A ready arsenal by name, or any arsenal by its TOML file.

    Raises:
        UserError: There is no such arsenal, or its file is not valid.
    """
    text = str(name_or_path)
    if text in ARSENALS:
        tell_shadowed(text, "a ready arsenal")
        return _ready(text)
    if _is_file(text):
        return Arsenal.load(text)
    raise unknown("ready arsenal or TOML file", text, ARSENALS)


def load_dipole(name_or_path: str | Path) -> Dipole:
    """A ready dipole by name, or a dipole by its TOML file; `./name` is a file that is called as one is.

    `FILE:NAME` picks one of several in an arsenal's file. `NAME_swapped` is a ready one the other way round.
    A file that says what to avoid gives the dipole of it.

    Raises:
        UserError: There is no such dipole, or its file is not valid.
    """
    text = str(name_or_path)
    ready = {dipole.name: dipole for arsenal in ARSENALS for dipole in _ready(arsenal)}
    swapped = (dipole.swapped() for dipole in ready.values())
    known = {**{dipole.name: dipole for dipole in swapped}, **ready}
    if text in known:
        tell_shadowed(text, "a ready dipole")
        return known[text]
    if _is_file(text):
        return Avoid.load(text).dipole if is_avoid(text) else Dipole.load(text)
    file, colon, name = text.rpartition(":")
    if colon and _is_file(file):
        return Arsenal.load(file)[name]
    if not text:
        raise UserError("The dipole is an empty string; give a TOML file or the name of a ready dipole.")
    raise unknown("ready dipole or TOML file", text, ready)


@cache
def _ready(name: str) -> Arsenal:
    return Arsenal.load(library()[name])


def _is_file(text: str) -> bool:
    """Whether the user means a file, be it there or not: names have neither slashes nor colons."""
    if text.endswith(".toml") or os.path.isfile(os.path.expanduser(text)):  # unlike Path, never raises
        return True
    return ":" not in text and any(slash in text for slash in "/\\")
