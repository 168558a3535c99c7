"""Recognizers that were fitted and saved as a folder, and carry the concept that they score for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dipole.files import settled
from dipole.files.paths import given_path
from dipole.files.reader import inside, read_json
from dipole.files.schema import shown
from dipole.protocols import LM, Recognizer
from dipole.registry import RECOGNIZERS, make_recognizer, plain, resolve
from dipole.types import UserError

RECOGNIZER = "recognizer.json"
"""The file by which a folder is known as that of a fitted recognizer."""

FITTED: dict[str, str] = {
    "topic": "dipole.recognizers.topic:TopicScore",
    "notion": "dipole.recognizers.notion:NotionScore",
    "reward_model": "dipole.recognizers.reward_model:RewardModel",
}
"""Kind, as `recognizer.json` has it, to a class with a classmethod `load(folder, item, open_model)`."""


def is_fitted(spec: str) -> bool:
    """Whether `FOLDER` or `FOLDER:ITEM` names a folder, or can't be anything else."""
    if not spec.strip():
        return False
    folder, item = split(spec)
    return folder.is_dir() or item is not None or "/" in spec


def split(spec: str) -> tuple[Path, str | None]:
    """The folder and the item of `FOLDER` or `FOLDER:ITEM`; a folder that is really called so comes first."""
    whole = given_path(spec, "The recognizer")
    if whole.is_dir() or ":" not in spec:
        return whole, None
    folder, _, item = spec.rpartition(":")
    return given_path(folder or ".", "The recognizer"), item


def recognizer_named(name: str, lm: LM) -> Recognizer:
    """The recognizer of that name, or the fitted one of a folder; a name comes first.

    Args:
        name: As in `RECOGNIZERS`, or `FOLDER` or `FOLDER:ITEM`.
        lm: What it reads with, if it reads with an LM.

    Raises:
        UserError: There is none, or it was fitted with another LM.
    """
    if is_listed(name):
        made: Recognizer = make_recognizer(name, lm)
        return made
    return load_fitted(name, lambda _known: lm)


def is_listed(name: str) -> bool:
    """Whether it is one of `RECOGNIZERS` that is meant, and no folder."""
    return plain(name) in RECOGNIZERS or not is_fitted(name)


def load_fitted(spec: str, open_model: Callable[[str], LM]) -> Recognizer:
    """The fitted recognizer of a folder.

    Args:
        spec: `FOLDER`, or `FOLDER:ITEM` where it holds several, such as `topics:3`.
        open_model: Makes an LM of the name under which the recognizer's own was loaded; called where it
            reads with one.

    Raises:
        UserError: There is no such folder, nothing fitted in it, or no such item.
    """
    folder, item = split(spec)
    settled(folder)
    made = _class_of(folder, spec)
    found: Recognizer = made.load(folder, item, open_model)
    return found


def _class_of(folder: Path, spec: str) -> Any:
    file = folder / RECOGNIZER
    if not str(spec).partition(":")[0].strip() or not folder.is_dir():
        raise UserError(
            f"There is no recognizer called {spec!r}, and no folder {str(folder)!r} with a fitted one; make "
            "one with `dipole topics` or `dipole point`, or name one such as velma."
        )
    if not os.path.lexists(file):
        raise UserError(
            f"The folder {folder} holds no fitted recognizer (it has no {RECOGNIZER}); give a folder that "
            "`dipole topics` or `dipole point` made."
        )
    known = read_json(inside(folder, RECOGNIZER), "make the folder again")
    kind = known.get("kind") if isinstance(known, dict) else None
    if not isinstance(kind, str) or kind not in FITTED:
        raise UserError(
            f"{file} is of kind {shown(kind)}; wanted {' or '.join(FITTED)}: make the folder again, or "
            "update dipole."
        )
    return resolve(FITTED, kind)
