"""`Arsenal`: several dipoles under one name."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import regex

from dipole.concepts._toml import read_toml, refuse_unknown_keys, toml_string, write_new
from dipole.concepts.dipole import Dipole
from dipole.concepts.text import same_pole
from dipole.files.paths import given_path
from dipole.files.schema import shown
from dipole.registry import unknown
from dipole.types import UserError
from dipole.words import canonical


@dataclass(frozen=True)
class Arsenal:
    """Several dipoles; each has a name of its own.

    A dipole without a name gets one from its claim, with a number behind it where another has it.

    Attributes:
        dipoles: The dipoles, at least one.
        name: Name of the whole; may be empty.
    """

    dipoles: tuple[Dipole, ...]
    name: str = ""

    kind: ClassVar[str] = "arsenal"

    def __post_init__(self) -> None:
        """Name the nameless.

        Raises:
            UserError: There is no dipole, or two have the same name.
        """
        named = _named(self.dipoles)
        if not named:
            raise UserError(
                "The arsenal is empty; wanted at least one [[dipole]] with `claim` and `against`."
            )
        seen: set[str] = set()
        for dipole in named:
            if dipole.name in seen:
                raise UserError(
                    f"Two dipoles of the arsenal are called {dipole.name!r}; give each a `name` of its own."
                )
            seen.add(dipole.name)
        object.__setattr__(self, "dipoles", named)

    def __iter__(self) -> Iterator[Dipole]:
        return iter(self.dipoles)

    def __len__(self) -> int:
        return len(self.dipoles)

    def __getitem__(self, name: str) -> Dipole:
        """The dipole of that name.

        Raises:
            UserError: There is none; the nearest name is suggested.
        """
        for dipole in self.dipoles:
            if dipole.name == name:
                return dipole
        raise unknown("dipole", name, self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the dipoles, in order."""
        return tuple(dipole.name for dipole in self.dipoles)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` makes the arsenal from again."""
        return {"kind": self.kind, "name": self.name, "dipole": [dipole.to_dict() for dipole in self.dipoles]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "The arsenal") -> Arsenal:
        """An arsenal from plain data.

        Args:
            data: `dipole`, a list of dipoles, and optionally `name`.
            where: How error messages call the data.

        Raises:
            UserError: The data do not make an arsenal.
        """
        values = dict(data)
        if (kind := values.pop("kind", cls.kind)) != cls.kind:
            raise UserError(f"{where} is of kind {shown(kind)}; wanted an arsenal.")
        refuse_unknown_keys(values, ("name", "dipole"), where)
        tables = values.get("dipole")
        if not isinstance(tables, list):
            raise UserError(f"{where} has no dipoles; wanted [[dipole]] tables with `claim` and `against`.")
        name = values.get("name", "")
        if not isinstance(name, str):
            raise UserError(f"The `name` of {where} must be text, and is {shown(name)}.")
        return cls(tuple(Dipole.from_dict(t, _place(where, i, t)) for i, t in enumerate(tables, 1)), name)

    @classmethod
    def load(cls, path: str | Path) -> Arsenal:
        """Read an arsenal from a TOML file; the file of one dipole makes an arsenal of one.

        An arsenal without a name is called after its file.

        Raises:
            UserError: The file is missing, is not TOML in UTF-8, or holds no valid dipoles.
        """
        file = given_path(path, "The TOML file")
        data = read_toml(file)
        if "dipole" not in data and ("claim" in data or "against" in data):
            return cls((Dipole.from_dict(data, str(file)),), file.stem)
        return cls.from_dict({"name": file.stem, **data}, str(file))

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the arsenal as a TOML file.

        Raises:
            UserError: The file exists and `overwrite` is off, or it can't be written.
        """
        write_new(given_path(path, "The TOML file"), self.to_toml(), overwrite)

    def to_toml(self) -> str:
        """The arsenal as TOML."""
        head = f"name = {toml_string(self.name)}\n" if self.name else ""
        return head + "".join(f"\n[[dipole]]\n{dipole.to_toml()}" for dipole in self.dipoles)


def _place(where: str, number: int, table: Any) -> str:
    name = table.get("name") if isinstance(table, Mapping) else None
    return (
        f"{where}, dipole {name!r}" if isinstance(name, str) and name else f"{where}, dipole number {number}"
    )


def _named(dipoles: Sequence[Dipole]) -> tuple[Dipole, ...]:
    """The dipoles, each nameless one called after its claim; two that say the same get the same name."""
    taken: dict[str, tuple[str, str] | None] = {dipole.name: None for dipole in dipoles if dipole.name}
    found = []
    for dipole in dipoles:
        if not dipole.name:
            says = (same_pole(dipole.claim), same_pole(dipole.against))
            slug = _slug(dipole.claim)
            names = itertools.chain([slug], (f"{slug}_{number}" for number in itertools.count(2)))
            name = next(name for name in names if taken.get(name, says) == says)
            taken[name] = says
            dipole = replace(dipole, name=name)
        found.append(dipole)
    return tuple(found)


def _slug(claim: str) -> str:
    return regex.sub(r"[^\p{L}\p{M}\p{N}]+", "_", canonical(claim)).strip("_")[:60] or "dipole"
