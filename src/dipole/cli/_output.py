"""The output folder that the flags name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dipole.files import check_output
from dipole.files.paths import given_path, same_place
from dipole.types import UserError


def output_folder(out: str, overwrite: bool, reads: Sequence[str] = ()) -> Path:
    """The output folder; what would be refused later is refused before a model is loaded.

    Args:
        out: As it was given.
        overwrite: Whether what dipole made there may be replaced.
        reads: Folders that the command reads; it must not replace them.
    """
    if not out.strip():
        raise UserError("The output folder is an empty string; give one such as --out runs/clips.")
    folder = given_path(out, "The output folder")
    for read in reads:
        if same_place(read, folder):
            raise UserError(f"--out is {out}, which this command reads; choose another folder with --out.")
    check_output(folder, overwrite)
    return folder
