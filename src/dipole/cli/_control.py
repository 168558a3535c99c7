"""The control that a command line names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipole.registry import CONTROLS, Option, options, resolve, unknown
from dipole.types import UserError

TRAINED = "ppo"  # what `dipole inoculate` trains with unless it is told
# Flags of `dipole fit` that stand alone, so that what follows them may be the control.
_SWITCHES = ("--overwrite", "--json", "--quiet", "-q", "--trust-remote-code", "--special-tokens")


def fields_for(command: str, arguments: Sequence[str]) -> tuple[Option, ...]:
    """The fields of the control that a command fits; none where another command runs, or no control is named.

    Args:
        command: `fit` or `inoculate`.
        arguments: The command line. The flags of a control are made from its dataclass, whose module imports
            torch, so only where the command is one that has them.

    Raises:
        UserError: There is no control of that name.
    """
    if next((argument for argument in arguments if not argument.startswith("-")), "") != command:
        return ()
    rest = list(arguments[list(arguments).index(command) + 1 :])
    if command == "inoculate":
        from dipole.inoculate import require_trained

        made = resolve(CONTROLS, _flagged(rest))
        require_trained(made)
        return options(made)
    name = _named(rest)
    return () if name is None else options(resolve(CONTROLS, name))


def _flagged(arguments: Sequence[str]) -> str:
    """The value of `--control`, the last one counting, or what it is when left out."""
    pairs = zip(arguments, (*arguments[1:], ""), strict=False)
    found = [a.partition("=")[2] or after for a, after in pairs if a.partition("=")[0] == "--control"]
    return found[-1] if found and found[-1] else TRAINED


def _named(arguments: Sequence[str]) -> str | None:
    """The argument that names the control: it is no flag, and not the value of one."""
    pairs = zip(("", *arguments), arguments, strict=False)
    free = [a for before, a in pairs if not a.startswith("-") and _is_free(before)]
    # Behind a control's own switch, --detach-value for instance, it looks like the value of a flag.
    known = [a for a in arguments if a.lower().replace("-", "_") in CONTROLS]
    return next(iter((*free, *known)), None)


def _is_free(before: str) -> bool:
    return not before.startswith("-") or "=" in before or before.startswith("--no-") or before in _SWITCHES


def made_control(name: str, fields: Mapping[str, Any]) -> Any:
    """The control of that name with the fields that were given.

    Raises:
        UserError: There is no such control, or a field is missing or means nothing.
    """
    made = resolve(CONTROLS, name)
    missing = [option for option in options(made) if option.required and option.name not in fields]
    if missing:
        raise UserError(
            f"The control {name} needs {missing[0].flag}: {missing[0].help or 'it has no default.'} "
            f"See `dipole fit {name} --help`."
        )
    return made(**fields)


def control_hint(folder: str) -> str:
    """A sentence for a folder that does not exist and has the name of a control; empty for any other."""
    if folder.strip().lower().replace("-", "_") not in CONTROLS:
        return ""
    return f" {folder!r} is a control: fit it first, with `dipole fit {folder} --dipole … --out {folder}`."


def unknown_control(text: str) -> UserError:
    """The error for what is neither a control nor a folder."""
    error = unknown("control", text, CONTROLS)
    return UserError(f"{error} Nor is there a folder {text}, which a fitted intervention would have.")
