"""Fitting the controls of a comparison, and what is known of each before it is measured."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipole.concepts import Dipole
from dipole.files import to_plain
from dipole.files.reader import read_json
from dipole.interventions.folder import META_FILE, judged_by
from dipole.origin import is_changed
from dipole.protocols import LM, Control, Intervention, JudgedBy
from dipole.types import UserError, fields_of

_CARD = "README.md"


@dataclass(frozen=True)
class Candidate:
    """A control that is to be fitted, or an intervention that came fitted, under its label."""

    label: str
    given: Control | Intervention

    @property
    def name(self) -> str:
        """Name of the control, or the kind of the intervention."""
        return self.given.kind if isinstance(self.given, Intervention) else self.given.name


@dataclass(frozen=True)
class Fitted:
    """A control that was fitted.

    Attributes:
        candidate: What was fitted.
        interventions: One a fit: one a repeat where the control has a seed, or else one for all.
        seconds: Time of each fit; empty for an intervention that came fitted.
        bytes: Size of the saved artefact without its model card.
        meta: What its `dipole.json` holds.
    """

    candidate: Candidate
    interventions: tuple[Intervention, ...]
    seconds: tuple[float, ...]
    bytes: int
    meta: Mapping[str, Any]

    @property
    def first(self) -> Intervention:
        """The intervention of the first repeat."""
        return self.interventions[0]

    def apply(self, lm: LM, strength: float, repeats: int) -> list[LM]:
        """The steered LM of each repeat.

        Raises:
            UserError: The intervention does not have this strength.
        """
        have = len(self.interventions)
        return [self.interventions[r % have].apply(lm, strength) for r in range(repeats)]

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizers that had a say in it: as the artefact tells, or else as the control declares."""
        found, given = judged_by(self.meta), self.candidate.given
        return found if any(found) or isinstance(given, Intervention) else given.judged_by


def named(entries: Sequence[Any]) -> list[Candidate]:
    """Entries with labels; of those with one name, each gets the settings that it does not share.

    Raises:
        UserError: A label is given twice.
    """
    given = [entry if isinstance(entry, tuple) else ("", entry) for entry in entries]
    made = [Candidate(label, thing) for label, thing in given]
    names = [c.name for c in made if not c.label]
    labels = []
    for c in made:
        own = _changed(c.given) if names.count(c.name) > 1 else ""
        labels.append(c.label or (f"{c.name} ({own})" if own else c.name))
    for index, label in enumerate(labels):
        if label in labels[:index]:
            if made[index].label:
                raise UserError(f"Two controls are called {label!r}; give each a label of its own.")
            labels[index] = f"{label} #{1 + labels[:index].count(label)}"
    return [Candidate(label, c.given) for label, c in zip(labels, made, strict=True)]


def fit(candidate: Candidate, lm: LM, dipole: Dipole, repeats: int) -> Fitted:
    """Fit a control, once a repeat where it has a seed.

    Raises:
        UserError: It can't be fitted to this LM and dipole.
    """
    given = candidate.given
    if isinstance(given, Intervention):
        size, meta = _saved(given)
        return Fitted(candidate, (given,), (), size, meta)
    made, seconds = [], []
    for control in _reseeded(given, repeats):
        started = time.perf_counter()
        made.append(control.fit(lm, dipole))
        seconds.append(time.perf_counter() - started)
    size, meta = _saved(made[0])
    return Fitted(candidate, tuple(made), tuple(seconds), size, meta)


def settings(thing: Any) -> dict[str, Any]:
    """The fields of a control as plain data; nothing for an intervention, whose fields are its data."""
    if isinstance(thing, Intervention) or not dataclasses.is_dataclass(thing) or isinstance(thing, type):
        return {}
    return {f.name: to_plain(getattr(thing, f.name)) for f in fields_of(thing)}


def _reseeded(control: Control, repeats: int) -> Iterator[Control]:
    seed = settings(control).get("seed")
    if not isinstance(seed, int):
        yield control
        return
    for r in range(repeats):
        yield dataclasses.replace(control, seed=seed + r)  # type: ignore[type-var]


def _changed(thing: Any) -> str:
    """Fields that differ from their defaults, such as `layer 3, n 16`."""
    own = settings(thing)
    changed = (f.name for f in (fields_of(thing) if own else ()) if is_changed(thing, f))
    return ", ".join(f"{name} {own[name]}" for name in changed)


def _saved(intervention: Intervention) -> tuple[int, dict[str, Any]]:
    """Bytes of the artefact on disk without its card, and its `dipole.json`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "saved"
        intervention.save(folder)
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != _CARD]
        size = sum(path.stat().st_size for path in files)
        meta = read_json(folder / META_FILE)
    return size, meta
