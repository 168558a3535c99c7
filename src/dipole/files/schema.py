"""What a file of ours may hold: each field has a type and a range, and what is not declared is refused.

A declaration is a tree of small frozen values, such as

    Table({"layer": Whole(0, 9999), "mass": Optional(Number(0, 1, above=True), 1.0), "facts": Facts()})

and `checked` gives the values back in the types that were asked for, or one sentence that names the entry.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal, Protocol, get_args, get_origin, get_type_hints

from dipole.types import UserError

_SHOWN = 60


class Misfit(ValueError):
    """A value that is not what was declared; its message reads `NAME must be … and is …`."""


class Field(Protocol):
    """What one value may be."""

    def read(self, value: Any, where: str) -> Any:
        """The value in its type.

        Args:
            value: Plain data, as from JSON or TOML.
            where: The name of the entry, such as `layers[2].sign`.

        Raises:
            Misfit: It is something else.
        """
        ...


@dataclass(frozen=True)
class Whole:
    """A whole number from `low` to `high`."""

    low: int = 0
    high: int = 2**31 - 1

    def read(self, value: Any, where: str) -> int:
        """The number; 3.0 is none."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise _misfit(where, f"a whole number from {self.low} to {self.high}", value)
        return value


@dataclass(frozen=True)
class Number:
    """A finite number from `low` to `high`; above `low` alone where `above` is on."""

    low: float = -1e9
    high: float = 1e9
    above: bool = False

    def read(self, value: Any, where: str) -> float:
        """The number as a float."""
        number = not isinstance(value, bool) and isinstance(value, int | float)
        inside = number and self.low <= value <= self.high and not (self.above and value == self.low)
        if not inside:
            begin = "above" if self.above else "from"
            middle = "up to" if self.above else "to"
            raise _misfit(where, f"a finite number {begin} {self.low:g} {middle} {self.high:g}", value)
        return float(value)


@dataclass(frozen=True)
class Flag:
    """True or false."""

    def read(self, value: Any, where: str) -> bool:
        """The flag; 0 and 1 are none."""
        if not isinstance(value, bool):
            raise _misfit(where, "true or false", value)
        return value


@dataclass(frozen=True)
class Text:
    """A text that UTF-8 can hold, at most `most` characters, and not empty where `least` is 1."""

    most: int = 1_000_000
    least: int = 0

    def read(self, value: Any, where: str) -> str:
        """The text."""
        if not isinstance(value, str) or not self.least <= len(value) <= self.most or not _is_text(value):
            lowest = "that is not empty " if self.least else ""
            raise _misfit(where, f"a text {lowest}of at most {self.most} characters in UTF-8", value)
        return value


@dataclass(frozen=True)
class Name:
    """A text on one line without control characters, at most `most` characters, such as that of a model."""

    most: int = 4096
    least: int = 0

    def read(self, value: Any, where: str) -> str:
        """The text."""
        text = isinstance(value, str) and self.least <= len(value) <= self.most and _is_text(value)
        if not text or any(unicodedata.category(c) in ("Cc", "Zl", "Zp") for c in value):
            raise _misfit(where, f"a name of {self.least} to {self.most} characters on one line", value)
        return str(value)


@dataclass(frozen=True)
class Choice:
    """One of a few texts or whole numbers."""

    options: tuple[str | int, ...]

    def read(self, value: Any, where: str) -> str | int:
        """The text or number."""
        if isinstance(value, bool) or not isinstance(value, str | int) or value not in self.options:
            raise _misfit(where, f"one of {', '.join(map(str, self.options))}", value)
        return value


@dataclass(frozen=True)
class Maybe:
    """What `field` says, or null, which becomes `empty`."""

    field: Field
    empty: Any = None

    def read(self, value: Any, where: str) -> Any:
        """The value, or `empty`."""
        return self.empty if value is None else self.field.read(value, where)


@dataclass(frozen=True)
class Items:
    """A list of `least` to `most` values, which becomes a tuple."""

    field: Field
    least: int = 0
    most: int = 1_000_000

    def read(self, value: Any, where: str) -> tuple[Any, ...]:
        """The values."""
        if not isinstance(value, list | tuple) or not self.least <= len(value) <= self.most:
            count = f"{self.least}" if self.least == self.most else f"{self.least} to {self.most}"
            raise _misfit(where, f"a list of {count} entries", value)
        return tuple(self.field.read(item, f"{where}[{i}]") for i, item in enumerate(value))


@dataclass(frozen=True)
class Either:
    """What one of two fields says."""

    one: Field
    other: Field

    def read(self, value: Any, where: str) -> Any:
        """What the first of the two makes of it that takes it."""
        try:
            return self.one.read(value, where)
        except Misfit as first:
            try:
                return self.other.read(value, where)
            except Misfit as second:
                raise Misfit(f"{str(first).partition(', and is ')[0]}; or else {second}") from None


@dataclass(frozen=True)
class Map:
    """A table from any names to values of one kind.

    Attributes:
        names: What each name may be.
        field: What each value may be.
    """

    names: Field
    field: Field

    def read(self, value: Any, where: str) -> dict[str, Any]:
        """The table."""
        if not isinstance(value, Mapping):
            raise _misfit(where, "a table", value)
        return {
            self.names.read(key, f"a name in {where}"): self.field.read(item, f"{where}.{_cut(str(key))}")
            for key, item in value.items()
        }


@dataclass(frozen=True)
class Optional:
    """An entry of a `Table` that may be left out, and then is `default`."""

    field: Field
    default: Any = None

    def read(self, value: Any, where: str) -> Any:
        """What `field` makes of it."""
        return self.field.read(value, where)


@dataclass(frozen=True)
class Facts:
    """A table of whatever plain data: a record of how something was made, which nothing depends on."""

    def read(self, value: Any, where: str) -> dict[str, Any]:
        """The table as it is."""
        if not isinstance(value, Mapping):
            raise _misfit(where, "a table", value)
        return dict(value)


@dataclass(frozen=True)
class Table:
    """A table with the entries that are declared.

    Attributes:
        fields: Name to what it may be.
        more: Keep entries that are not declared, unread; they are refused otherwise.
    """

    fields: Mapping[str, Field] = field(default_factory=dict)
    more: bool = False

    def read(self, value: Any, where: str) -> dict[str, Any]:
        """All declared entries, with the defaults of those that are left out, and the others if kept."""
        if not isinstance(value, Mapping):
            raise _misfit(where, "a table", value)
        if not self.more:
            for key in value:
                if key not in self.fields:
                    raise Misfit(f"{_of(where)}has an {unknown_key(key, self.fields)}")
        made = dict(value)
        for name, wanted in self.fields.items():
            if name in value:
                made[name] = wanted.read(value[name], f"{where}.{name}" if where else name)
            elif isinstance(wanted, Optional):
                made[name] = wanted.default
            else:
                raise Misfit(f"{_of(where)}has no {name!r}")
        return made


def checked(wanted: Table, data: Any, source: object, remedy: str) -> dict[str, Any]:
    """The entries of a table that was read from somewhere.

    Args:
        wanted: What they may be.
        data: Plain data.
        source: Where it was read from, such as the path of a file.
        remedy: What to do about it, such as `fit the control again`.

    Raises:
        UserError: Something is missing, unknown, of another type or out of its range.
    """
    try:
        return wanted.read(data, "")
    except Misfit as error:
        raise UserError(f"{source} is damaged: {str(error).strip()}; {remedy}.") from None


def of_fields(cls: type[Any]) -> Table:
    """The table of the fields of a dataclass, by their annotations and defaults; ranges are its own to check.

    Args:
        cls: A dataclass whose fields are texts, whole numbers, numbers, flags, tuples of texts, or None.

    Raises:
        TypeError: A field is of another type.
    """
    hints = get_type_hints(cls)
    made = {f.name: _of_type(hints[f.name], f.name) for f in fields(cls) if f.init}
    plain = {f.name: f.default for f in fields(cls) if f.default is not MISSING}
    return Table({n: Optional(field, plain[n]) if n in plain else field for n, field in made.items()})


_BY_TYPE: dict[Any, Field] = {
    str: Text(),
    int: Whole(-(2**31)),
    float: Number(-1e300, 1e300),
    bool: Flag(),
    tuple[str, ...]: Items(Text()),
}


def _of_type(hint: Any, name: str) -> Field:
    parts = get_args(hint)
    if type(None) in parts:
        (only,) = (part for part in parts if part is not type(None))
        return Maybe(_of_type(only, name))
    if get_origin(hint) is Literal:
        return Choice(parts)
    if hint not in _BY_TYPE:
        raise TypeError(f"{name} is of type {hint}, which no file can hold")
    return _BY_TYPE[hint]


def unknown_key(key: object, known: Iterable[str]) -> str:
    """The words for a key that is not known, with the nearest that is."""
    names = list(known)
    near = difflib.get_close_matches(str(key)[:100], names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown key {shown(key)}.{guess} Keys: {', '.join(names)}"


def shown(value: object) -> str:
    """A value as it stands in a message: short, on one line, and without going deep."""
    if isinstance(value, Mapping):
        return f"a table of {len(value)} entries"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} entries" if any(_is_deep(v) for v in value) else _cut(repr(value))
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 128:
        return "a whole number of many digits"
    return "null" if value is None else _cut(repr(value))


def _is_deep(value: object) -> bool:
    return isinstance(value, Mapping | list | tuple) or (isinstance(value, int) and value.bit_length() > 128)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _misfit(where: str, wanted: str, value: object) -> Misfit:
    value_is_nan = isinstance(value, float) and not math.isfinite(value)
    came = str(value) if value_is_nan else shown(value)
    return Misfit(f"{where or 'it'} must be {wanted}, and is {came}")


def _of(where: str) -> str:
    return f"{where} " if where else "it "


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
