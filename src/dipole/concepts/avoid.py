"""`Avoid`: what is not to be named, and what to speak of in its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from dipole.concepts._toml import read_toml, refuse_unknown_keys, toml_list, toml_string, write_new
from dipole.concepts.avoid_prompts import BEGINNINGS, HELD_OUT_BEGINNINGS, fill
from dipole.concepts.dipole import Dipole, Mentions
from dipole.concepts.mentions import spans
from dipole.concepts.text import text_of, texts_of
from dipole.files.paths import given_path
from dipole.files.schema import shown
from dipole.types import UserError

INSTRUCTION = "Speak of {instead}. Never mention {avoid}."
"""What a model is told: `{instead}` and `{avoid}` stand for the two."""

_SWAPPED = "_swapped"
_TEXTS = ("avoid", "instead", "instruction", "name")
_LISTS = ("aliases", "instead_aliases", "prompts", "held_out")


@dataclass(frozen=True)
class Avoid:
    """A pink elephant, which is not to be named, and a grey one to speak of in its place (Castricato 2024).

    It has all that a dipole has: the claim is the instruction, the opposite the same the other way round, the
    mentions are the names of the two. A name is found in any case, singular or plural (`spans`).

    Attributes:
        avoid: What not to name, as it stands in a sentence, such as `paper clips`.
        instead: What to speak of.
        aliases: Other names of what to avoid; to name one of them is to name it.
        instead_aliases: Other names of what to speak of.
        instruction: What a model is told; `{avoid}` and `{instead}` stand for the two.
        name: Short name; may be empty.
        prompts: Prompts that bring it up, to train on; by default English ones for any two things.
        held_out: Other wordings, which are measured on alone.
    """

    avoid: str
    instead: str
    aliases: tuple[str, ...] = ()
    instead_aliases: tuple[str, ...] = ()
    instruction: str = INSTRUCTION
    name: str = ""
    prompts: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()

    kind: ClassVar[str] = "avoid"

    def __post_init__(self) -> None:
        """Validate, and fill in the prompts; see `Raises`.

        Raises:
            UserError: A name is empty or stands on both sides, the instruction does not say what to avoid, a
                prompt is also held out, or a field is not text.
        """
        for field in _TEXTS:
            object.__setattr__(self, field, text_of(getattr(self, field), field).strip())
        for field in _LISTS:
            object.__setattr__(self, field, texts_of(getattr(self, field), field))
        for field in ("avoid", "instead"):
            if not getattr(self, field):
                raise UserError(
                    f"`{field}` is empty; name what to avoid and what to speak of instead, such as "
                    'avoid = "paper clips" and instead = "staples".'
                )
        if "{avoid}" not in self.instruction:
            raise UserError(
                f"The instruction must hold {{avoid}}, where the name of what to avoid goes, and is "
                f"{self.instruction!r}; write for example {INSTRUCTION!r}."
            )
        if not self.prompts:
            object.__setattr__(self, "prompts", fill(BEGINNINGS, self.avoid, self.instead))
            if not self.held_out:
                object.__setattr__(self, "held_out", fill(HELD_OUT_BEGINNINGS, self.avoid, self.instead))
        _ = self.dipole  # refuses what a dipole refuses: a word on both sides, a prompt that is held out too

    @property
    def told(self) -> str:
        """The instruction, with the names in their places."""
        (text,) = fill((self.instruction,), self.avoid, self.instead)
        return text

    @property
    def claim(self) -> str:
        """The instruction: what is wanted."""
        return self.told

    @property
    def against(self) -> str:
        """The instruction the other way round."""
        (text,) = fill((self.instruction,), self.instead, self.avoid)
        return text

    @property
    def mentions(self) -> Mentions:
        """The names of what to speak of (`claim`) and of what to avoid (`against`)."""
        return Mentions((self.instead, *self.instead_aliases), (self.avoid, *self.aliases))

    @property
    def label(self) -> str:
        """The name, or the two names where there is none."""
        return self.name or f"{self.instead}, not {self.avoid}"

    @property
    def dipole(self) -> Dipole:
        """The same as a dipole, for what takes no other concept."""
        return Dipole(self.claim, self.against, self.name, self.prompts, self.held_out, self.mentions)

    def named(self, text: str) -> tuple[bool, bool]:
        """Whether a text names what to speak of, and whether it names what to avoid, anywhere."""
        mentions = self.mentions
        sides = {span.side for span in spans(text, (mentions.claim, mentions.against))}
        return 0 in sides, 1 in sides

    def swapped(self) -> Avoid:
        """The other one to avoid; `_swapped` is added to the name, or taken from it."""
        name = self.name
        if name:
            name = name.removesuffix(_SWAPPED) if name.endswith(_SWAPPED) else name + _SWAPPED
        return replace(
            self,
            avoid=self.instead,
            instead=self.avoid,
            aliases=self.instead_aliases,
            instead_aliases=self.aliases,
            name=name,
        )

    @classmethod
    def of(cls, concept: Any, instruction: str = "") -> Avoid:
        """What a concept says to avoid: of a dipole the other side, in favour of the claim's.

        The names are the first mentions of either side, in the spelling of the dipole's prompts.

        Args:
            concept: An `Avoid`, or a dipole with mentions of both sides.
            instruction: In place of the concept's own, or of `INSTRUCTION`.

        Raises:
            UserError: The concept names no two sides.
        """
        if isinstance(concept, Avoid):
            return replace(concept, instruction=instruction) if instruction else concept
        mentions: Any = getattr(concept, "mentions", None)
        if mentions is None or not (mentions.claim and mentions.against):
            raise UserError(
                f"{getattr(concept, 'label', concept)} does not name two sides, so nothing says what to "
                'avoid; give mentions = { claim = ["staple"], against = ["paper clip"] }, or a file with '
                "`avoid` and `instead`."
            )
        held_out = tuple(getattr(concept, "held_out", ()))
        (instead, more), (avoid, others) = (
            _spelled(words, (*concept.prompts, *held_out)) for words in (mentions.claim, mentions.against)
        )
        name = getattr(concept, "name", "")
        return cls(avoid, instead, others, more, instruction or INSTRUCTION, name, concept.prompts, held_out)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` makes it from again."""
        lists = {field: list(getattr(self, field)) for field in _LISTS}
        return {"kind": self.kind, **{field: getattr(self, field) for field in _TEXTS}, **lists}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "The concept") -> Avoid:
        """From plain data.

        Args:
            data: `avoid`, `instead` and optionally the other fields.
            where: How error messages call the data.

        Raises:
            UserError: A key is missing, unknown or of the wrong type, or the concept is not valid.
        """
        if not isinstance(data, Mapping):
            raise UserError(f"{where} is a {type(data).__name__}; wanted a table with `avoid` and `instead`.")
        values = dict(data)
        if (kind := values.pop("kind", cls.kind)) != cls.kind:
            raise UserError(f"{where} is of kind {shown(kind)}; wanted one of kind 'avoid'.")
        refuse_unknown_keys(values, (*_TEXTS, *_LISTS), where)
        for key in ("avoid", "instead"):
            if key not in values:
                raise UserError(
                    f"{where} has no `{key}`; name what to `avoid` and what to speak of `instead`."
                )
        return cls(**values)

    @classmethod
    def load(cls, path: str | Path) -> Avoid:
        """Read it from a TOML file.

        Raises:
            UserError: The file is missing, is not TOML in UTF-8, or holds no valid concept of this kind.
        """
        file = given_path(path, "The TOML file")
        return cls.from_dict(read_toml(file), str(file))

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write it as a TOML file.

        Raises:
            UserError: The file exists and `overwrite` is off, or it can't be written.
        """
        write_new(given_path(path, "The TOML file"), self.to_toml(), overwrite)

    def to_toml(self) -> str:
        """It as TOML; empty fields are left out."""
        texts = [(field, getattr(self, field)) for field in ("avoid", "instead", "instruction", "name")]
        lines = [f"{field} = {toml_string(text)}" for field, text in texts if text]
        lists = [(field, getattr(self, field)) for field in _LISTS]
        lines += [f"{field} = {toml_list(texts)}" for field, texts in lists if texts]
        return "\n".join(lines) + "\n"


def is_avoid(path: str | Path) -> bool:
    """Whether a TOML file says what to avoid; what is no such file is none of that kind.

    Raises:
        UserError: The file is there and can't be read.
    """
    file = given_path(path, "The TOML file")
    return file.is_file() and "avoid" in read_toml(file)


def _spelled(words: tuple[str, ...], prompts: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    """The first word as the prompts spell it, and the others."""
    found = (prompt[span.start : span.end] for prompt in prompts for span in spans(prompt, (words[:1],)))
    inside = [text for text in found if text[:1].islower() == words[0][:1].islower()]
    return inside[0] if inside else words[0], tuple(words[1:])
