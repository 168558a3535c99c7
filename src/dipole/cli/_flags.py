"""Commands and their flags, from dataclasses.

A command is a frozen dataclass with a method `run`: a field is a flag, a field that is a dataclass is a group
of flags, and the `Attributes:` of the docstring are what `--help` says. A control's fields become flags too.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import copy
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from typer.models import OptionInfo

from dipole.cli._console import flag
from dipole.registry import Option, attribute_docs
from dipole.types import MOST_SEED, UserError

_KEYWORD = inspect.Parameter.KEYWORD_ONLY
OWN = "fields"  # the field of a command that holds what was given of the flags of a control

Texts = Annotated[list[str] | None, typer.Option(metavar="TEXT")]
File = Annotated[str | None, typer.Option(metavar="FILE")]
Count = Annotated[int, typer.Option(min=1)]


def command(made: type[Any], own: Sequence[Option] = ()) -> Callable[..., Any]:
    """A function for typer, which makes the command from its flags and runs it.

    Args:
        made: The command.
        own: Fields of a control, which are flags of the command too; one that is no text or number gets none.
    """
    found = [option for option in own if _flag_type(option.type) is not None]

    def run(**given: Any) -> Any:
        values = {option.name: given.pop(option.name) for option in found}
        return _made(made, {**given, OWN: _given(values, found)}).run()

    run.__signature__ = inspect.Signature([*_parameters(made), *map(_own, found)])  # type: ignore[attr-defined]
    run.__doc__ = inspect.getdoc(made).partition("\nAttributes:")[0].rstrip()  # type: ignore[union-attr]
    return run


def switches(made: type[Any]) -> set[str]:
    """How the flags of a command are spelled that stand alone, with no value behind them."""
    found = (p for p in _parameters(made) if p.annotation.__origin__ in (bool, bool | None))
    spelled = (p.annotation.__metadata__[0] for p in found)
    return {name for info in spelled for name in (info.default, *(info.param_decls or ()))}


def require_number(name: str, value: object, lowest: int = 0) -> None:
    """Refuse what no flag can mean: NaN, infinity, whole numbers below the lowest and enormous ones.

    Raises:
        UserError: The value is one of those.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{name} must be a finite number, and is {value}.")
    if isinstance(value, int) and not lowest <= value <= MOST_SEED:
        raise UserError(f"{name} must be a whole number from {lowest} to {MOST_SEED}, and is {value}.")


def _parameters(group: type[Any]) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    helps = {k: v for base in reversed(group.__mro__) for k, v in attribute_docs(base).items()}
    for field in (field for field in dataclasses.fields(group) if field.init and field.name != OWN):
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _parameters(hints[field.name])
        else:
            yield _parameter(field, hints[field.name], helps[field.name])


def _parameter(field: dataclasses.Field[Any], hint: Any, text: str) -> inspect.Parameter:
    kind, own = (hint.__origin__, hint.__metadata__[0]) if get_origin(hint) is Annotated else (hint, None)
    info = copy(own or typer.Option())
    info.help = text
    if isinstance(info, OptionInfo) and info.default is ...:  # it has no spelling of its own
        info.default = flag(field.name)
    default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
    shown = Annotated[kind, info]  # type: ignore[valid-type]
    return inspect.Parameter(field.name, _KEYWORD, default=default, annotation=shown)


def _made(group: type[Any], given: Mapping[str, Any]) -> Any:
    """The dataclass with what was given for its fields, and for those of its groups."""
    hints = get_type_hints(group)
    names = [field.name for field in dataclasses.fields(group) if field.init]
    groups = {name for name in names if dataclasses.is_dataclass(hints[name])}
    return group(**{name: _made(hints[name], given) if name in groups else given[name] for name in names})


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


def _own(option: Option) -> inspect.Parameter:
    # Every default is None, so that what was given can be told from what was left out.
    long = f"--{option.name.replace('_', '-')}"
    names = [f"{long}/--no-{long[2:]}" if option.type is bool else long]
    short = [f"-{option.name}"] if len(option.name) == 1 else []
    default = typer.Option(None, *short, *names, help=f"{option.help} [{_shown(option)}]", show_default=False)
    return inspect.Parameter(
        option.name, _KEYWORD, default=default, annotation=_flag_type(option.type) | None
    )


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
        lowest = -MOST_SEED if isinstance(option.default, int) and option.default < 0 else 0
        require_number(flag(option.name), value, lowest)
        given[option.name] = tuple(value) if isinstance(value, list) else value
    return given
