"""Command-line flags from the fields of a control's dataclass."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer

from dipole.registry import Option
from dipole.types import UserError

_LARGEST = 2**32 - 1  # what every seed and count that is made from a flag can hold


def with_fields(function: Callable[..., Any], found: Sequence[Option]) -> Callable[..., Any]:
    """The command with one flag for each field of a control.

    Args:
        function: A command with a parameter `fields`, which gets the fields that were given: name to value.
        found: The fields.
    """

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        values = {option.name: given.pop(option.name) for option in found}
        return function(**given, fields=_given(values, found))

    signature = inspect.signature(function, eval_str=True)
    kept = [p for p in signature.parameters.values() if p.name != "fields"]
    command.__signature__ = signature.replace(parameters=[*kept, *map(_parameter, found)])  # type: ignore[attr-defined]
    return command


def _parameter(option: Option) -> inspect.Parameter:
    # Every default is None, so that what was given can be told from what was left out.
    flag = f"{option.flag}/--no-{option.flag[2:]}" if option.type is bool else option.flag
    default = typer.Option(None, flag, help=f"{option.help} [{_shown(option)}]", show_default=False)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(option.name, kind, default=default, annotation=option.type | None)


def _shown(option: Option) -> str:
    if isinstance(option.default, bool):
        return f"default: {'on' if option.default else 'off'}"
    return f"default: {option.default}"


def _given(values: Mapping[str, Any], found: Sequence[Option]) -> dict[str, Any]:
    flags = {option.name: option.flag for option in found}
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        require_number(flags[name], value)
    return given


def require_number(flag: str, value: object) -> None:
    """Refuse what no flag can mean: NaN, infinity, negative and enormous whole numbers.

    Raises:
        UserError: The value is one of those.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag} must be a finite number, and is {value}.")
    if isinstance(value, int) and not 0 <= value <= _LARGEST:
        raise UserError(f"{flag} must be a whole number from 0 to {_LARGEST}, and is {value}.")
