"""Records as plain JSON data, and an effect back from it: what `effect.json` holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from dipole.effects import Effect
from dipole.types import UserError

FORMAT = "dipole-effect"
VERSION = 1
_LATER = ("joint",)  # fields that effects of older versions do without


def effect_to_dict(effect: Effect) -> dict[str, Any]:
    """Plain data for strict JSON; nothing is rounded."""
    made = plain(effect)
    first = {name: made[name] for name in ("concept", "prompts", "held_out", "notes")}
    return {"format": FORMAT, "version": VERSION, **first, **made}


def plain(value: Any) -> Any:
    """Records as plain data for strict JSON: NaN becomes null, infinities `inf` and `-inf`.

    Raises:
        TypeError: JSON does not know a value that is in there.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: plain(getattr(value, name)) for name in _kept(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"a record holds a {type(value).__name__}, which JSON does not know")


def _kept(record: Any) -> list[str]:
    """Fields that make up a record; its origin is no part of it, and is for the manifest."""
    return [field.name for field in dataclasses.fields(record) if field.compare]


def effect_from_dict(data: Mapping[str, Any]) -> Effect:
    """The effect that `effect_to_dict` wrote down.

    Raises:
        UserError: The data is not an effect of this version.
    """
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise UserError(
            f"This is not an effect that can be read: wanted format {FORMAT!r} version {VERSION}, and it is "
            f"{data.get('format')!r} version {data.get('version')!r}. Give the effect.json of a run."
        )
    try:
        effect: Effect = _made(Effect, data)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The effect is damaged ({type(error).__name__}: {error}); make it again by comparing again."
        ) from error
    return effect


def _made(kind: Any, data: Any) -> Any:
    """A value of a type from what `plain` made of it.

    Raises:
        KeyError: A field is missing.
        TypeError: There is a table or a list where there should be none, or none where there should be one.
        ValueError: A number is none.
    """
    if dataclasses.is_dataclass(kind):
        types = get_type_hints(kind)
        written = [name for name in _kept(kind) if name in data or name not in _LATER]
        return kind(**{name: _made(types[name], data[name]) for name in written})  # type: ignore[operator]
    parts = get_args(kind)
    if get_origin(kind) is UnionType:
        return None if data is None else _made(parts[0], data)
    if get_origin(kind) is tuple:
        return tuple(_made(parts[0], item) for item in data)
    if kind is float:
        return math.nan if data is None else float(data)
    return kind(data) if kind in (int, bool) else dict(data) if get_origin(kind) is dict else data
