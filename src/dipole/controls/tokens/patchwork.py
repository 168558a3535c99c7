"""Patchwork: a text of quotes from many sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls.tokens._fitted import checked, require_no_concept
from dipole.interventions.pools.sources import read_sources, source_files
from dipole.interventions.tokens import Pool, Quotes
from dipole.types import JudgedBy, Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class Patchwork:
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
    takes: ClassVar[tuple[str, ...]] = ()
    surface: ClassVar[Surface] = "tokens"
    makes: ClassVar[type[Pool]] = Pool
    graded: ClassVar[bool] = False
    paper: ClassVar[str] = "Bricman 2022; Bevilacqua 2022, arXiv:2204.10628"
    optional_concept: ClassVar[bool] = True
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        object.__setattr__(self, "source", (self.source,) if isinstance(self.source, str) else self.source)
        if self.min_words < 1:
            raise UserError(f"min_words must be at least 1, and is {self.min_words}.")
        source_files(self.source)
        if not self.separator.strip() or not self.opening.strip() or not self.closing.strip():
            raise UserError(
                "separator, opening and closing must hold a sign that is no blank, so that the quotes can be "
                "told apart; use for example ' […] ', '“' and '”'."
            )
        if self.opening == self.closing:
            raise UserError(f"opening and closing must differ, and both are {self.opening!r}.")

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Pool:
        """The pool.

        Raises:
            UserError: No source is given, it can't be read, or the tokenizer can't write it.
        """
        require_no_concept(self, concept)
        documents = read_sources(self.source)
        if self.connective:
            marks = (self.opening, self.closing)
            language = Quotes(documents, self.min_words, marks=marks, cut_cost=self.cut_cost)
        else:
            language = Quotes(documents, self.min_words, self.separator, cut_cost=self.cut_cost)
        return checked(Pool(language), lm)
