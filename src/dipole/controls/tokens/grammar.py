"""Grammar: say what matches a regular expression or a JSON schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from dipole.controls.tokens._fitted import PoolControl
from dipole.files.paths import given_file
from dipole.files.plain_text import read_plain_text
from dipole.interventions.tokens import Grammar as Language
from dipole.interventions.tokens import Pool


@dataclass(frozen=True)
class Grammar(PoolControl):
    """Say only what matches a regular expression or a JSON schema.

    Attributes:
        regex: A regular expression that the whole completion matches; it wants its own space in front.
        json_schema: A JSON schema: the JSON itself, or a file that holds it.
        sampling: local (mask each step), or asap.
        rounds: For asap: draws for each prompt that it learns from.
    """

    regex: str = ""
    json_schema: str = ""
    sampling: str = "local"
    rounds: int = 32

    name: ClassVar[str] = "grammar"
    paper: ClassVar[str] = "Willard 2023, arXiv:2307.09702; Park 2024, arXiv:2405.21047"

    def __post_init__(self) -> None:
        """Refuse a file that is not there."""
        if self._names_a_file():
            given_file(self.json_schema, "The JSON schema")

    def pool(self) -> Pool:
        """The pool.

        Raises:
            UserError: Neither or both are given, the engine refuses what is given, or is not installed.
        """
        return Pool(Language(self.regex, self._schema()), self.sampling, self.rounds)

    def _names_a_file(self) -> bool:
        text = self.json_schema.removeprefix("\ufeff").strip()
        return bool(text) and not text.startswith(("{", "[", '"')) and text not in ("true", "false", "null")

    def _schema(self) -> str:
        text = self.json_schema.removeprefix("\ufeff")
        if not self._names_a_file():
            return text
        return read_plain_text(text, "The JSON schema", "JSON, or a file in UTF-8 that holds it")
