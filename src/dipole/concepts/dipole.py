"""`Dipole`: what is wanted, as a statement and its opposite."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from dipole.concepts._toml import read_toml, refuse_unknown_keys, toml_list, toml_string, write_new
from dipole.concepts.mentions import first_side, stem
from dipole.concepts.text import same_pole, same_text, text_of, texts_of
from dipole.files.paths import given_path
from dipole.files.schema import shown
from dipole.registry import CONCEPTS, resolve
from dipole.types import DipoleWarning, Side, UserError
from dipole.words import words

_SWAPPED = "_swapped"
_MOST = {"claim": 100_000, "against": 100_000, "name": 1000}  # characters; a page has some 3,000
_MOST_IN_MENTION = 1000


@dataclass(frozen=True)
class Mentions:
    """Words that show which side a text took.

    Attributes:
        claim: Words for the side of the claim.
        against: Words for the other side.
    """

    claim: tuple[str, ...] = ()
    against: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse empty words, and a word that stands on both sides."""
        for side in ("claim", "against"):
            listed = texts_of(getattr(self, side), f"mentions.{side}")
            if any(len(word) > _MOST_IN_MENTION for word in listed):
                raise UserError(
                    f"mentions.{side} holds a word of over {_MOST_IN_MENTION:,} characters; cut it."
                )
            if any(not stem(word) for word in listed):
                raise UserError(f"mentions.{side} holds an empty word; remove it.")
            object.__setattr__(self, side, listed)
        claims = {stem(word): word for word in self.claim}
        for word in self.against:
            if stem(word) in claims:
                raise UserError(
                    f"{word!r} is a mention on both sides ({claims[stem(word)]!r} for the claim), so "
                    "it can't show which side a text took; keep it on one side or remove it."
                )

    def __bool__(self) -> bool:
        """Whether there is any word."""
        return bool(self.claim or self.against)


@dataclass(frozen=True)
class Dipole:
    """A statement and its opposite, with the prompts on which they matter.

    Blanks around the poles are removed. Lists are taken where tuples are named.

    Attributes:
        claim: The statement that is wanted.
        against: Its opposite.
        name: Short name, such as `paper_clips`; may be empty.
        prompts: Prompts that a control may train on.
        held_out: Other wordings, which are never trained on; effects are measured on them.
        mentions: Words that show which side a completion took.
    """

    claim: str
    against: str
    name: str = ""
    prompts: tuple[str, ...] = ()
    held_out: tuple[str, ...] = ()
    mentions: Mentions = Mentions()

    kind: ClassVar[str] = "dipole"

    def __post_init__(self) -> None:
        """Validate; see `Raises`.

        Raises:
            UserError: A pole is empty, the poles are identical up to case, blanks and a final stop, a
                held-out prompt is among the prompts, or a field is not text.
        """
        for name in ("claim", "against", "name"):
            text = text_of(getattr(self, name), name).strip()
            if len(text) > _MOST[name]:
                raise UserError(
                    f"The dipole's `{name}` has {len(text):,} characters, and {_MOST[name]:,} are the most; "
                    "a dipole is a statement and its opposite, not the texts that are judged by it."
                )
            object.__setattr__(self, name, text)
        for name in ("prompts", "held_out"):
            object.__setattr__(self, name, texts_of(getattr(self, name), name))
        if not isinstance(self.mentions, Mentions):
            object.__setattr__(self, "mentions", _mentions(self.mentions))
        self._check_poles()
        self._check_held_out()

    def _check_poles(self) -> None:
        for name in ("claim", "against"):
            if not getattr(self, name):
                raise UserError(
                    f"The dipole's `{name}` is empty; a dipole is a statement and its opposite, such as "
                    "'Paper clips are the best.' against 'Paper clips are the worst.'."
                )
        if same_pole(self.claim) == same_pole(self.against):
            raise UserError(
                f"Both poles say {self.claim!r} (case, spaces and a final stop aside), so nothing tells them "
                "apart; give the opposite as `against`."
            )
        claim, against = len(words(self.claim)), len(words(self.against))
        if abs(claim - against) >= 3 and max(claim, against) > 1.5 * min(claim, against):
            warnings.warn(
                f"The poles are far apart in length ({claim} and {against} words). VELMA compares the mean "
                "log-likelihood a token of each pole, so what the longer one adds, easy or hard to predict, "
                "shifts every score whatever the text says. Word the opposite by changing as few words as "
                "possible.",
                DipoleWarning,
                stacklevel=4,
            )

    def _check_held_out(self) -> None:
        trained = {same_text(prompt) for prompt in self.prompts}
        for prompt in self.held_out:
            if same_text(prompt) in trained:
                raise UserError(
                    f"The held-out prompt {prompt!r} is also among the prompts, which are trained on; "
                    "keep it in one of the two lists."
                )

    @property
    def label(self) -> str:
        """The name, or the claim where there is none."""
        return self.name or self.claim

    def swapped(self) -> Dipole:
        """The same dipole the other way round; `_swapped` is added to its name, or taken from it."""
        if not self.name:
            name = ""
        elif self.name.endswith(_SWAPPED):
            name = self.name.removesuffix(_SWAPPED)
        else:
            name = self.name + _SWAPPED
        mentions = Mentions(self.mentions.against, self.mentions.claim)
        return replace(self, claim=self.against, against=self.claim, name=name, mentions=mentions)

    def side_taken(self, text: str) -> Side | None:
        """Whose mention comes first in a text, or None where neither does.

        Case and plurals are forgiven, as are hyphens and spaces inside a mention. Where two mentions
        begin at the same place the longer one counts ("tea bag" before "tea"). The first mention stands
        for the choice; "anything but staples" therefore reads as taking the side of staples.
        """
        return first_side(text, (self.mentions.claim, self.mentions.against))

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `from_dict` makes the dipole from again."""
        return {
            "kind": self.kind,
            "name": self.name,
            "claim": self.claim,
            "against": self.against,
            "prompts": list(self.prompts),
            "held_out": list(self.held_out),
            "mentions": {"claim": list(self.mentions.claim), "against": list(self.mentions.against)},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "The dipole") -> Dipole:
        """A dipole from plain data.

        Args:
            data: `claim`, `against` and optionally `name`, `prompts`, `held_out`, `mentions`; or what the
                class wants that another package offers for its `kind`, if that is one of dipoles.
            where: How error messages call the data.

        Raises:
            UserError: A key is missing, unknown or of the wrong type, or the dipole is not valid.
        """
        if not isinstance(data, Mapping):
            raise UserError(f"{where} is a {type(data).__name__}; wanted a table with `claim` and `against`.")
        values = dict(data)
        if (kind := values.pop("kind", cls.kind)) != cls.kind:
            if cls is Dipole and isinstance(kind, str) and (made := _of_kind(kind)):
                return made.from_dict(data, where)
            raise UserError(f"{where} is of kind {shown(kind)}; wanted a dipole.")
        known = ("claim", "against", "name", "prompts", "held_out", "mentions")
        refuse_unknown_keys(values, known, where)
        for key in ("claim", "against"):
            if key not in values:
                raise UserError(
                    f"{where} has no `{key}`; a dipole needs a `claim` and its opposite, `against`."
                )
        return cls(**values)

    @classmethod
    def load(cls, path: str | Path) -> Dipole:
        """Read a dipole from a TOML file; an arsenal with a single dipole will do.

        Raises:
            UserError: The file is missing, is not TOML in UTF-8, or holds no valid dipole, or several.
        """
        file = given_path(path, "The TOML file")
        data = read_toml(file)
        tables = data.get("dipole")
        if isinstance(tables, list):
            if len(tables) != 1:
                raise UserError(
                    f"{file} holds {len(tables)} dipoles, and one is wanted; name it, as in {file}:NAME."
                )
            return cls.from_dict(tables[0], str(file))
        return cls.from_dict(data, str(file))

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the dipole as a TOML file.

        Raises:
            UserError: The file exists and `overwrite` is off, or it can't be written.
        """
        write_new(given_path(path, "The TOML file"), self.to_toml(), overwrite)

    def to_toml(self) -> str:
        """The dipole as TOML; empty fields are left out."""
        lines = [f"name = {toml_string(self.name)}"] if self.name else []
        lines += [f"claim = {toml_string(self.claim)}", f"against = {toml_string(self.against)}"]
        if self.prompts:
            lines.append(f"prompts = {toml_list(self.prompts)}")
        if self.held_out:
            lines.append(f"held_out = {toml_list(self.held_out)}")
        if self.mentions:
            # An inline table may not be broken over lines, so its lists may not be either.
            claim, against = (
                toml_list(words, 1 << 30) for words in (self.mentions.claim, self.mentions.against)
            )
            lines.append(f"mentions = {{ claim = {claim}, against = {against} }}")
        return "\n".join(lines) + "\n"


def _of_kind(kind: str) -> type[Dipole] | None:
    """The class of another package's dipoles of that kind."""
    if kind not in CONCEPTS.others:
        return None
    found = resolve(CONCEPTS, kind)
    return found if issubclass(found, Dipole) else None


def _mentions(value: Any) -> Mentions:
    if not isinstance(value, Mapping):
        raise UserError(
            f"`mentions` must have the lists `claim` and `against`, and is {shown(value)}; write "
            '{ claim = ["paper clip"], against = ["staple"] }.'
        )
    refuse_unknown_keys(value, ("claim", "against"), "`mentions`")
    return Mentions(**value)
