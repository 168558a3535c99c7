"""Command-line flags from the fields of a control's dataclass."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

import typer

from dipole.cli._numbers import LARGEST, require_number
from dipole.registry import Option


def with_fields(function: Callable[..., Any], fields: Sequence[Option]) -> Callable[..., Any]:
    """The command with one flag for each field of a control; a field that is no text or number gets none.

    Args:
        function: A command with a parameter `fields`, which gets the fields that were given: name to value.
        fields: The fields.
    """
    found = [option for option in fields if _flag_type(option.type) is not None]

    @functools.wraps(function)
    def command(**given: Any) -> Any:
        values = {option.name: given.pop(option.name) for option in found}
        return function(**given, fields=_given(values, found))

    signature = inspect.signature(function, eval_str=True)
    kept = [p for p in signature.parameters.values() if p.name != "fields"]
    command.__signature__ = signature.replace(parameters=[*kept, *map(_parameter, found)])  # type: ignore[attr-defined]
    return command


def _flag_type(annotation: Any) -> Any:
    """What the flag of a field takes: a list for a tuple, str for a Literal; None if there is no flag."""
    arguments = [a for a in get_args(annotation) if a is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType):
        return _flag_type(arguments[0]) if len(arguments) == 1 else None
    if get_origin(annotation) is Literal:
        return str
    if get_origin(annotation) in (tuple, list, Sequence) and arguments:
        return list[arguments[0]] if arguments[0] in (str, int, float) else None  # type: ignore[valid-type]
    return annotation if annotation in (str, int, float, bool) else None


def _parameter(option: Option) -> inspect.Parameter:
    # Every default is None, so that what was given can be told from what was left out.
    flag = f"{option.flag}/--no-{option.flag[2:]}" if option.type is bool else option.flag
    short = [f"-{option.name}"] if len(option.name) == 1 else []
    default = typer.Option(None, *short, flag, help=f"{option.help} [{_shown(option)}]", show_default=False)
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(option.name, kind, default=default, annotation=_flag_type(option.type) | None)


def _shown(option: Option) -> str:
    if option.required:
        return "required"
    if isinstance(option.default, bool):
        return f"default: {'on' if option.default else 'off'}"
    return f"default: {'none' if option.default in (None, '', ()) else option.default}"


def _given(values: Mapping[str, Any], found: Sequence[Option]) -> dict[str, Any]:
    given = {name: value for name, value in values.items() if value not in (None, [])}
    for option in (option for option in found if option.name in given):
        value = given[option.name]
        lowest = -LARGEST if isinstance(option.default, int) and option.default < 0 else 0
        require_number(option.flag, value, lowest)
        given[option.name] = tuple(value) if isinstance(value, list) else value
    return given
