"""The dipole that the flags name."""

from __future__ import annotations

from dipole.concepts import Dipole, load_dipole
from dipole.types import UserError

ARSENALS = ("microworld", "general")


def concept_from(claim: str | None, against: str | None, file: str | None) -> Dipole:
    """The dipole of `--claim` and `--against`, or of `--dipole`.

    Raises:
        UserError: Both are given, or neither, or half, or the dipole is not valid.
    """
    if file is not None:
        if claim is not None or against is not None:
            raise UserError("Got both --dipole and a claim or --against; give one or the other.")
        return load_dipole(file)
    if claim is None and against is None:
        raise UserError(
            "There is no dipole; give a claim and --against its opposite, or --dipole with a file or name."
        )
    if claim is None or against is None:
        have, lack = ("--against", "its claim") if claim is None else ("a claim", "--against, its opposite")
        raise UserError(f"Got {have} without {lack}; a dipole is a statement and its opposite.")
    return Dipole(claim, against)
