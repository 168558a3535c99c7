"""What `compare` and `sweep` measure: controls by name, and folders of fitted interventions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.cli._control import made_control, unknown_control
from dipole.cli._interventions import base_of, loaded
from dipole.files.paths import given_path, tell_shadowed
from dipole.protocols import Intervention
from dipole.registry import CONTROLS, options, resolve
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.evaluation.families import Entry
    from dipole.lm import LM


def entries_from(names: Sequence[str]) -> tuple[list[Entry], str | None]:
    """The entries, and the name of the model that the fitted ones among them were made for.

    A name of a control is that control, to be fitted; `./vector` is the folder.

    Raises:
        UserError: A name is neither a control nor a folder, or stands there twice.
    """
    entries: list[Any] = []
    fitted: list[tuple[Intervention, str]] = []
    seen: set[str] = set()
    for name in names:
        plain = name.strip().lower().replace("-", "_")
        label = plain if plain in CONTROLS else str(Path(name))
        if label in seen:
            raise UserError(f"{name!r} stands there twice; name each control or folder once.")
        seen.add(label)
        if plain in CONTROLS:
            tell_shadowed(name, "a control")
            _require_none_missing(plain)
            entries.append(made_control(plain, {}))
        elif given_path(name, "The control").is_dir():
            fitted.append((loaded(name), name))
            entries.append((label, fitted[-1][0]))
        else:
            raise unknown_control(name)
    return entries, base_of(fitted)


def require_fitting(lm: LM, entries: Sequence[Entry]) -> None:
    """Refuse an intervention that was made for another model, before anything is measured."""
    for entry in entries:
        if isinstance(entry, tuple) and isinstance(entry[1], Intervention):
            entry[1].apply(lm)


def _require_none_missing(control: str) -> None:
    missing = [option.flag for option in options(resolve(CONTROLS, control)) if option.required]
    if missing:
        raise UserError(
            f"The control {control} needs {missing[0]}, so it can't be fitted here: fit it with `dipole fit "
            f"{control} {missing[0]} …`, and give its folder."
        )
