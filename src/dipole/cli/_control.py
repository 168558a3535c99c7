"""The control that a command line names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipole.registry import CONTROLS, Option, options, resolve, unknown
from dipole.types import UserError

# Flags of `dipole fit` that stand alone, so that what follows them may be the control.
_SWITCHES = ("--overwrite", "--json", "--quiet", "-q", "--trust-remote-code", "--special-tokens")


def fields_for(command: str, arguments: Sequence[str]) -> tuple[Option, ...]:
    """The fields of the control that a command fits; none where another command runs, or no control is named.

    Args:
        command: Name of one; only `fit` and `inoculate` fit.
        arguments: The command line. The flags of a control are made from its dataclass, whose module imports
            torch, so only where the command is one that has them.

    Raises:
        UserError: There is no control of that name.
    """
    if next((argument for argument in arguments if not argument.startswith("-")), "") != command:
        return ()
    if command == "inoculate":
        return options(resolve(CONTROLS, "ppo"))
    if command != "fit":
        return ()
    name = _named(arguments[list(arguments).index("fit") + 1 :])
    return () if name is None else options(resolve(CONTROLS, name))


def _named(arguments: Sequence[str]) -> str | None:
    """The argument that names the control: it is no flag, and not the value of one."""
    pairs = zip(("", *arguments), arguments, strict=False)
    free = [a for before, a in pairs if not a.startswith("-") and _is_free(before)]
    # Behind a control's own switch, --detach-value for instance, it looks like the value of a flag.
    known = [a for a in arguments if a.lower().replace("-", "_") in CONTROLS]
    return next(iter((*free, *known)), None)


def _is_free(before: str) -> bool:
    return not before.startswith("-") or "=" in before or before.startswith("--no-") or before in _SWITCHES


def made_control(name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """The control of that name.

    Args:
        name: As in `CONTROLS`.
        fields: The fields that were given; None where none can be.

    Raises:
        UserError: There is no such control, or a field is missing or means nothing.
    """
    made = resolve(CONTROLS, name)
    for option in options(made):
        if option.required and option.name not in (fields or {}):
            if fields is None:
                raise UserError(
                    f"The control {name} needs {option.flag}, so it can't be fitted here: fit it with "
                    f"`dipole fit {name} {option.flag} …`, and give its folder."
                )
            raise UserError(
                f"The control {name} needs {option.flag}: {option.help or 'it has no default.'} "
                f"See `dipole fit {name} --help`."
            )
    return made(**(fields or {}))


def control_hint(folder: str) -> str:
    """A sentence for a folder that does not exist and has the name of a control; empty for any other."""
    if folder.strip().lower().replace("-", "_") not in CONTROLS:
        return ""
    return f" {folder!r} is a control: fit it first, with `dipole fit {folder} --dipole … --out {folder}`."


def unknown_control(text: str) -> UserError:
    """The error for what is neither a control nor a folder."""
    error = unknown("control", text, CONTROLS)
    return UserError(f"{error} Nor is there a folder {text}, which a fitted intervention would have.")
