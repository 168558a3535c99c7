"""`dipole dipoles`: the ready dipoles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._console import emit, emit_json
from dipole.shown.terminal import one_line


@dataclass(frozen=True, kw_only=True)
class Dipoles:
    """List the ready dipoles, which --dipole takes by name.

    Attributes:
        name: Print this one as a dipole file (TOML).
        json: Print JSON, one object a line.
    """

    name: Annotated[str | None, typer.Argument(metavar="[NAME]")] = None
    json: bool = False

    def run(self) -> None:
        """Print a line a dipole, or one as a file."""
        from dipole.concepts import library, load_arsenal, load_dipole

        if self.name is not None:
            found = load_dipole(self.name)
            return emit_json(found.to_dict()) if self.json else emit(found.to_toml().rstrip("\n"))
        for arsenal in library():
            for dipole in load_arsenal(arsenal):
                if self.json:
                    emit_json({"arsenal": arsenal, **dipole.to_dict()})
                else:
                    poles = f"{one_line(dipole.claim)} / {one_line(dipole.against)}"
                    emit(f"{arsenal:10}  {dipole.name:22}  {poles}")
