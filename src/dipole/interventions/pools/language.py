"""What a token pool holds: a language, that is, a set of texts that may be written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

from torch import Tensor

from dipole.files.schema import Field
from dipole.interventions.pools.automaton import Walk
from dipole.interventions.pools.vocabulary import Vocabulary
from dipole.tensors import Wanted
from dipole.types import UserError
from dipole.words import ends_unspaced

_OPENING = "([{<\"'`/-–—_“‘«„‚‹"


@runtime_checkable
class Language(Protocol):
    """A set of texts that may follow a prompt; plain data, the same for every tokenizer."""

    type: ClassVar[str]
    ends: ClassVar[bool]
    """Whether a text of the language can be complete, so that the model needs a token to end with."""
    fields: ClassVar[Mapping[str, Field]]
    """What `to_dict` gives, with types and ranges."""

    def walks(self, vocabulary: Vocabulary, rows: Sequence[tuple[str, bool]], name: str) -> list[Walk]:
        """One walk for each row.

        Args:
            vocabulary: Tokens of the model.
            rows: The prompt, and whether the tokenizer drops a space right behind it.
            name: The model's name, for messages.

        Raises:
            UserError: The tokenizer can't write what the language holds.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `dipole.json`."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """What is too large for JSON."""
        ...

    @classmethod
    def wanted(cls, data: Mapping[str, Any]) -> dict[str, Wanted]:
        """What `tensors` gives, for entries that are as `fields` says."""
        ...

    @classmethod
    def from_saved(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The language again.

        Raises:
            UserError: The data are not those of a language.
            UnicodeDecodeError: A text is not UTF-8.
        """
        ...


class PlainLanguage:
    """A language, a dataclass, that is all in its fields: plain data, as `fields` declares them."""

    fields: ClassVar[Mapping[str, Field]]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        found = {name: getattr(self, name) for name in self.fields}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}

    def tensors(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    @classmethod
    def wanted(cls, data: Mapping[str, Any]) -> dict[str, Wanted]:
        """Nothing."""
        del data
        return {}

    @classmethod
    def from_saved(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The language again."""
        del tensors
        return cls(**data)


def require_writable(vocabulary: Vocabulary, text: str, what: str, name: str) -> None:
    """Refuse texts at which a tokenizer without tokens for single bytes could get stuck.

    Raises:
        UserError: There is such a character.
    """
    odd = vocabulary.unwritable(text)
    if odd:
        raise UserError(
            f"The tokenizer of {name} has no token for {odd[0]!r}, which {what} holds; remove it, or use a "
            "model whose tokenizer covers every byte."
        )


def opens_with_space(prompt: str) -> bool:
    """Whether what follows a prompt begins with a space.

    It does not where the prompt is empty, or ends in a blank, in a sign that opens something, or in a script
    that puts no blanks between words.
    """
    return (
        bool(prompt) and not prompt[-1].isspace() and prompt[-1] not in _OPENING and not ends_unspaced(prompt)
    )
