"""Quotes: say what a source says, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls.tokens._fitted import checked, require_no_concept
from dipole.interventions.pools.sources import read_sources, source_files
from dipole.interventions.tokens import Pool
from dipole.interventions.tokens import Quotes as Language
from dipole.types import JudgedBy, Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM, Run


@dataclass(frozen=True)
class Quotes:
    """Say one passage of a source, word for word.

    Attributes:
        source: A text file, or a folder, for all its .txt and .md files; give the flag once for each.
        min_words: Words that the quote has at least.
        sampling: local (mask each step), or asap.
        rounds: For asap: draws for each prompt that it learns from.
    """

    source: tuple[str, ...]
    min_words: int = 3
    sampling: str = "local"
    rounds: int = 32

    name: ClassVar[str] = "quotes"
    takes: ClassVar[tuple[str, ...]] = ()
    surface: ClassVar[Surface] = "tokens"
    makes: ClassVar[type[Pool]] = Pool
    graded: ClassVar[bool] = False
    paper: ClassVar[str] = "Bevilacqua 2022, arXiv:2204.10628"
    optional_concept: ClassVar[bool] = True
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        object.__setattr__(self, "source", (self.source,) if isinstance(self.source, str) else self.source)
        if self.min_words < 1:
            raise UserError(f"min_words must be at least 1, and is {self.min_words}.")
        source_files(self.source)

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Pool:
        """The pool.

        Raises:
            UserError: No source is given, it can't be read, or the tokenizer can't write it.
        """
        require_no_concept(self, concept)
        language = Language(read_sources(self.source), self.min_words)
        return checked(Pool(language, self.sampling, self.rounds), lm)
