"""What a control accepts as its concept."""

from __future__ import annotations

from typing import Any

from dipole.protocols import Control, Poles
from dipole.types import UserError


def require_dipole(control: Control, concept: Any) -> Poles:
    """The concept, if the control takes dipoles and it is one, be it of a kind of somebody else's.

    Raises:
        UserError: It is something else.
    """
    if "dipole" in control.takes and isinstance(concept, Poles):
        return concept
    kind = getattr(concept, "kind", type(concept).__name__)
    raise UserError(
        f"{control.name} cannot be fitted to a {kind}: it takes a dipole, a statement and its opposite."
    )
