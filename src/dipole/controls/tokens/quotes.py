"""Quotes: say what a source says, word for word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dipole.controls.tokens._fitted import PoolControl, source_of
from dipole.interventions.pools.sources import read_sources
from dipole.interventions.tokens import Pool
from dipole.interventions.tokens import Quotes as Language


@dataclass(frozen=True)
class Quotes(PoolControl):
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
    paper: ClassVar[str] = "Bevilacqua 2022, arXiv:2204.10628"

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        object.__setattr__(self, "source", source_of(self.source, self.min_words))

    def pool(self) -> Pool:
        """The pool.

        Raises:
            UserError: No source is given, or it can't be read.
        """
        language = Language(read_sources(self.source), self.min_words)
        return Pool(language, self.sampling, self.rounds)
