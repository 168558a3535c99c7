"""Titles: links that can only lead to what exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dipole.controls.tokens._fitted import PoolControl
from dipole.files.paths import given_file
from dipole.interventions.pools.titles import read_titles
from dipole.interventions.tokens import Pool


@dataclass(frozen=True)
class Titles(PoolControl):
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
    paper: ClassVar[str] = "De Cao 2021, arXiv:2010.00904"

    def __post_init__(self) -> None:
        """Refuse a file that is not there."""
        given_file(self.titles, "The file of titles")

    def pool(self) -> Pool:
        """The pool.

        Raises:
            UserError: The file can't be read, or holds no title.
        """
        return Pool(read_titles(self.titles), self.sampling, self.rounds)
