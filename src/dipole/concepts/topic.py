"""A topic of a topic model, as plain text data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dipole.concepts._toml import refuse_unknown_keys
from dipole.concepts.text import text_of, texts_of
from dipole.files.schema import shown
from dipole.types import UserError


@dataclass(frozen=True)
class Topic:
    """What a cluster of documents is about: a rough notion, to point with.

    Attributes:
        name: Short name, such as `murder, clue, inspector`; made from the first three words where empty.
        words: Its words, the most probable first.
        index: Its number in the topic model, from 0; None for a topic that no model has.
        source: Where the model lies, or what it was fitted to; may be empty.
    """

    name: str = ""
    words: tuple[str, ...] = ()
    index: int | None = None
    source: str = ""

    kind: ClassVar[str] = "topic"

    def __post_init__(self) -> None:
        """Validate; see `Raises`.

        Raises:
            UserError: There is no word, a field is not text, or the index is below 0.
        """
        for field in ("name", "source"):
            object.__setattr__(self, field, text_of(getattr(self, field), field).strip())
        object.__setattr__(self, "words", texts_of(self.words, "words"))
        if not any(word.strip() for word in self.words):
            raise UserError("The topic has no `words`; a topic is known by its most probable words.")
        if self.index is not None and (type(self.index) is not int or self.index < 0):
            raise UserError(f"The topic's `index` must be a number from 0 on, and is {shown(self.index)}.")
        if not self.name:
            object.__setattr__(self, "name", ", ".join(self.words[:3]))

    @property
    def label(self) -> str:
        """The name."""
        return self.name

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` makes the topic from again."""
        return {
            "kind": self.kind,
            "name": self.name,
            "words": list(self.words),
            "index": self.index,
            "source": self.source,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "The topic") -> Topic:
        """A topic from plain data.

        Args:
            data: `words` and optionally `name`, `index`, `source`.
            where: How error messages call the data.

        Raises:
            UserError: A key is unknown or of the wrong type, or the topic is not valid.
        """
        if not isinstance(data, Mapping):
            raise UserError(f"{where} is a {type(data).__name__}; wanted a table with `words`.")
        values = dict(data)
        if (kind := values.pop("kind", cls.kind)) != cls.kind:
            raise UserError(f"{where} is of kind {shown(kind)}; wanted a topic.")
        refuse_unknown_keys(values, ("name", "words", "index", "source"), where)
        return cls(**values)
