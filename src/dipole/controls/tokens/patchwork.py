"""Patchwork: a text of quotes from many sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dipole.controls.tokens._fitted import PoolControl, source_of
from dipole.interventions.pools.sources import read_sources
from dipole.interventions.tokens import Pool, Quotes
from dipole.types import UserError


@dataclass(frozen=True)
class Patchwork(PoolControl):
    """Say passages of several sources, joined by a sign or by the model's own words.

    Attributes:
        source: A text file, or a folder, for all its .txt and .md files; give the flag once for each.
        min_words: Words that each quote has at least.
        cut_cost: Nats by which beginning another quote is made less likely; below 0 it is made likelier.
        connective: Let the model write its own words between quotes, which then stand between marks.
        separator: What stands between two quotes where there are no words of its own.
        opening: Mark that opens a quote among its own words.
        closing: Mark that closes it.
    """

    source: tuple[str, ...]
    min_words: int = 3
    cut_cost: float = 1.0
    connective: bool = False
    separator: str = " […] "
    opening: str = "“"
    closing: str = "”"

    name: ClassVar[str] = "patchwork"
    paper: ClassVar[str] = "Bricman 2022; Bevilacqua 2022, arXiv:2204.10628"

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        object.__setattr__(self, "source", source_of(self.source, self.min_words))
        if not self.separator.strip() or not self.opening.strip() or not self.closing.strip():
            raise UserError(
                "separator, opening and closing must hold a sign that is no blank, so that the quotes can be "
                "told apart; use for example ' […] ', '“' and '”'."
            )
        if self.opening == self.closing:
            raise UserError(f"opening and closing must differ, and both are {self.opening!r}.")

    def pool(self) -> Pool:
        """The pool.

        Raises:
            UserError: No source is given, or it can't be read.
        """
        documents = read_sources(self.source)
        if self.connective:
            marks = (self.opening, self.closing)
            language = Quotes(documents, self.min_words, marks=marks, cut_cost=self.cut_cost)
        else:
            language = Quotes(documents, self.min_words, self.separator, cut_cost=self.cut_cost)
        return Pool(language)
