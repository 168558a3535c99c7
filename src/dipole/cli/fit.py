"""`dipole fit`: fit one control to a dipole, and keep the intervention."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from dipole.cli._groups import Output, Source, Wanted


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Fit a control to a dipole, for `generate` and `compare`.

    Attributes:
        control: One of `dipole controls`; `dipole fit CONTROL --help` lists its own flags.
        out: Folder for the intervention.
    """

    control: Annotated[str, typer.Argument(metavar="CONTROL")]
    out: str
    wanted: Wanted
    source: Source
    output: Output
    fields: Mapping[str, Any]

    def run(self) -> int:
        """Fit, save and print what was chosen; the exit code."""
        from dipole.cli._fitting import perform

        return perform(self)
