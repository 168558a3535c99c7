"""Grammar: say what matches a regular expression or a JSON schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.controls.tokens._fitted import checked, require_no_concept
from dipole.interventions.tokens import Grammar as Language
from dipole.interventions.tokens import Pool
from dipole.paths import given_file
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.lm import LM


@dataclass(frozen=True)
class Grammar:
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
    takes: ClassVar[tuple[str, ...]] = ()
    surface: ClassVar[Surface] = "tokens"
    paper: ClassVar[str] = "Willard 2023, arXiv:2307.09702; Park 2024, arXiv:2405.21047"

    def __post_init__(self) -> None:
        """Refuse a file that is not there."""
        if self._names_a_file():
            given_file(self.json_schema, "The JSON schema")

    def fit(self, lm: LM, concept: Any = None) -> Pool:
        """The pool.

        Raises:
            UserError: Neither or both are given, the engine refuses what is given, or is not installed.
        """
        require_no_concept(self, concept)
        return checked(Pool(Language(self.regex, self._schema()), self.sampling, self.rounds), lm)

    def _names_a_file(self) -> bool:
        return bool(self.json_schema) and not self.json_schema.lstrip().startswith(("{", "true", "false"))

    def _schema(self) -> str:
        text = self.json_schema
        if not self._names_a_file():
            return text
        try:
            return given_file(text, "The JSON schema").read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The JSON schema {text} can't be read ({error}); give JSON, or a file that holds it."
            ) from error
