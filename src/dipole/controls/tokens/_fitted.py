"""What the controls of this folder share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dipole.interventions.tokens import Pool
from dipole.protocols import Control
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


def require_no_concept(control: Control, concept: Any) -> None:
    """Refuse a concept that would be ignored; a dipole is let pass, because `compare` gives one to everybody.

    Raises:
        UserError: It is another kind of concept.
    """
    if concept is not None and getattr(concept, "kind", "") != "dipole":
        kind = getattr(concept, "kind", type(concept).__name__)
        raise UserError(
            f"{control.name} is fitted to no concept, and came with a {kind}; leave it out: what may be said "
            "is in its own options."
        )


def checked(pool: Pool, lm: LM) -> Pool:
    """The pool, once it is known to work with the model.

    Raises:
        UserError: The model has no end-of-text token, or its tokenizer can't write what the pool holds.
    """
    pool.tokens(lm.resident)
    return pool
