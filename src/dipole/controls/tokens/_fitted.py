"""What the controls of this folder share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.interventions.pools.sources import source_files
from dipole.interventions.tokens import Pool
from dipole.protocols import Control, JudgedBy
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


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


class PoolControl(ABC):
    """A control, a dataclass, that makes a token pool from its own fields alone."""

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ()
    surface: ClassVar[Surface] = "tokens"
    makes: ClassVar[type[Pool]] = Pool
    graded: ClassVar[bool] = False
    paper: ClassVar[str]
    optional_concept: ClassVar[bool] = True
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Pool:
        """The pool, once it is known to work with the model.

        Raises:
            UserError: A concept is given, what the pool is made of can't be read, or the tokenizer can't
                write it.
        """
        del run
        require_no_concept(self, concept)
        return checked(self.pool(), lm)

    @abstractmethod
    def pool(self) -> Pool:
        """The pool.

        Raises:
            UserError: What it is made of can't be read.
        """


def source_of(given: str | tuple[str, ...], min_words: int) -> tuple[str, ...]:
    """Files and folders that are quoted, one or several.

    Raises:
        UserError: One is not there, or `min_words` is below 1.
    """
    if min_words < 1:
        raise UserError(f"min_words must be at least 1, and is {min_words}.")
    found = (given,) if isinstance(given, str) else given
    source_files(found)
    return found
