"""Titles: links that can only lead to what exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls.tokens._fitted import checked, require_no_concept
from dipole.files.paths import given_file
from dipole.interventions.pools.titles import read_titles
from dipole.interventions.tokens import Pool
from dipole.types import JudgedBy, Surface

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class Titles:
    """Write freely, but link only to titles of a list, each with its own target.

    Attributes:
        titles: A text file with one title a line; behind a tab its link target, if it has one.
        sampling: local (mask each step), or asap.
        rounds: For asap: draws for each prompt that it learns from.
    """

    titles: str
    sampling: str = "local"
    rounds: int = 32

    name: ClassVar[str] = "titles"
    takes: ClassVar[tuple[str, ...]] = ()
    surface: ClassVar[Surface] = "tokens"
    makes: ClassVar[type[Pool]] = Pool
    graded: ClassVar[bool] = False
    paper: ClassVar[str] = "De Cao 2021, arXiv:2010.00904"
    optional_concept: ClassVar[bool] = True
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def __post_init__(self) -> None:
        """Refuse a file that is not there."""
        given_file(self.titles, "The file of titles")

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Pool:
        """The pool.

        Raises:
            UserError: The file can't be read, holds no title, or the tokenizer can't write a title.
        """
        require_no_concept(self, concept)
        return checked(Pool(read_titles(self.titles), self.sampling, self.rounds), lm)
