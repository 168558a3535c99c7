"""The output folder that the flags name."""

from __future__ import annotations

import sys
from pathlib import Path

from dipole.files import check_output, write_manifest
from dipole.types import UserError


def output_folder(out: str, overwrite: bool) -> Path:
    """The output folder; what would be refused later is refused before a model is loaded."""
    if not out.strip():
        raise UserError("The output folder is an empty string; give one such as --out runs/clips.")
    check_output(Path(out), overwrite)
    return Path(out)


def keep_list(made: Path) -> None:
    """Write a manifest of a folder that nothing was fitted for: the command, and what lies in it."""
    from dipole.report.manifest import command_line, versions

    facts = {"made_by": "dipole", "format": 1, "command": command_line(sys.argv), "versions": versions()}
    write_manifest(made, facts)
