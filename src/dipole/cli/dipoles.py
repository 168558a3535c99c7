"""`dipole dipoles`: the ready dipoles."""

from __future__ import annotations

from typing import Annotated

import typer

from dipole.cli._console import emit, emit_json
from dipole.cli._flags import Json
from dipole.shown.terminal import one_line


def dipoles(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Print this one as a dipole file (TOML).")
    ] = None,
    json: Json = False,
) -> None:
    """List the ready dipoles, which --dipole takes by name."""
    from dipole.concepts import library, load_arsenal, load_dipole

    if name is not None:
        found = load_dipole(name)
        if json:
            emit_json(found.to_dict())
        else:
            emit(found.to_toml().rstrip("\n"))
        return
    for arsenal in library():
        for dipole in load_arsenal(arsenal):
            if json:
                emit_json({"arsenal": arsenal, **dipole.to_dict()})
            else:
                emit(f"{arsenal:10}  {dipole.name:22}  {one_line(dipole.claim)} / {one_line(dipole.against)}")
