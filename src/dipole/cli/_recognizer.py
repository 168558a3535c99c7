"""The recognizer that the flags ask for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from dipole.cli._groups import Poles, Source
from dipole.files.paths import tell_shadowed
from dipole.protocols import Recognizer
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.lm import LM


def load_recognizer(name: str, source: Source, prior_correction: bool) -> Recognizer:
    """Make the recognizer of that name; `source` is the LM that it reads with, where it reads with one."""
    from dipole.registry import RECOGNIZERS, resolve

    made = resolve(RECOGNIZERS, name)
    fields = {field.name for field in dataclasses.fields(made)}
    options: dict[str, Any] = {}
    if "judge" in fields:
        options["judge"] = source.load()
    elif source.given:
        raise _reads_with_none(name)
    if prior_correction and "prior_correction" not in fields:
        raise _no_correction(name)
    if prior_correction:
        options["prior_correction"] = True
    recognizer: Recognizer = made(**options)
    return recognizer


def is_fitted(name: str) -> bool:
    """Whether the name is that of a folder, with or without an item: what is in the table comes first."""
    from dipole.recognizers import fitted
    from dipole.registry import RECOGNIZERS

    if name.strip().lower().replace("-", "_") in RECOGNIZERS:
        tell_shadowed(name, "a recognizer")
        return False
    return fitted.is_fitted(name)


def load_fitted(name: str, source: Source, prior_correction: bool, poles: Poles) -> Recognizer:
    """The fitted recognizer of a folder, such as `topics:3`.

    Args:
        name: The folder, with its item.
        source: A model that is named replaces the one that the recognizer was fitted with.
        prior_correction: Refused.
        poles: Refused, since the recognizer has a concept of its own.

    Raises:
        UserError: It can't be loaded, or flags are given that it does not know.
    """
    from dipole.recognizers import fitted

    opened = []

    def open_model(known: str) -> LM:
        opened.append(known)
        return source.load(known)

    if poles.given:
        raise UserError(
            f"The recognizer {name} was fitted to a concept of its own; leave out --claim, --against and "
            "--dipole."
        )
    if prior_correction:
        raise _no_correction(name)
    found = fitted.load_fitted(name, open_model)
    if source.given and not opened:
        raise _reads_with_none(name)
    return found


def _reads_with_none(name: str) -> UserError:
    return UserError(
        f"The recognizer {name} does not read with a language model; leave out --model and the like."
    )


def _no_correction(name: str) -> UserError:
    return UserError(f"The recognizer {name} knows no --prior-correction; leave it out, or use velma.")
