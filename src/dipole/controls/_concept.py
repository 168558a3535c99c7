"""What a control accepts as its concept."""

from __future__ import annotations

from typing import Any

from dipole.protocols import Control, Poles
from dipole.types import UserError


def require_dipole(control: Control, concept: Any) -> Poles:
    """The concept, if it is of a kind that the control takes.

    Raises:
        UserError: It is something else.
    """
    kind = getattr(concept, "kind", type(concept).__name__)
    if kind in control.takes:
        dipole: Poles = concept
        return dipole
    raise UserError(
        f"{control.name} cannot be fitted to a {kind}: it takes a dipole, a statement and its opposite."
    )
