"""The recognizer that the flags ask for."""

from __future__ import annotations

import dataclasses
from typing import Any

from dipole.cli._flags import load_model
from dipole.types import Recognizer, UserError


def load_recognizer(name: str, source: tuple[Any, ...], prior_correction: bool) -> Recognizer:
    """Make the recognizer of that name; `source` is what `load_model` takes, where it reads with an LM."""
    from dipole.registry import RECOGNIZERS, resolve

    made = resolve(RECOGNIZERS, name)
    fields = {field.name for field in dataclasses.fields(made)}
    options: dict[str, Any] = {}
    if "judge" in fields:
        options["judge"] = load_model(*source)
    elif any(source):
        raise UserError(
            f"The recognizer {name} does not read with a language model; leave out --model and the like."
        )
    if prior_correction and "prior_correction" not in fields:
        raise UserError(f"The recognizer {name} knows no --prior-correction; leave it out, or use velma.")
    if prior_correction:
        options["prior_correction"] = True
    recognizer: Recognizer = made(**options)
    return recognizer
