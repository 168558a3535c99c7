"""The prompt surface: text that the model reads before the user's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from dipole.files.schema import Facts, Field, Flag, Items, Optional, Text
from dipole.interventions.folder import checked_apply, read_fields, write_folder
from dipole.protocols import LM
from dipole.resident import Resident, Turns
from dipole.types import DipoleWarning, Surface

Examples = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Prefix:
    """A directive, and texts that show what is meant, in front of the user's text.

    It is on (strength 1) or off (0); at -1 the opposite directive and examples stand there, where it has
    any. On a model that reads chats the directive is the system's turn, each example a turn of the user and
    one of the assistant, and the user's text the last turn. Where a template does not show the system's turn,
    the directive stands in the first turn of the user, and `apply` says so.

    Attributes:
        directive: What the model is told; may be empty.
        examples: Pairs of a prompt and its continuation.
        opposite_directive: The same for strength -1.
        opposite_examples: The same for strength -1.
        facts: How it was made, as plain data: chosen examples, scores.
        card: Model card in Markdown.
    """

    directive: str
    examples: tuple[tuple[str, str], ...] = ()
    opposite_directive: str = ""
    opposite_examples: tuple[tuple[str, str], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "prompt"
    kind: ClassVar[str] = "prefix"
    graded: ClassVar[bool] = False

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with the prefix in front of every prompt.

        Raises:
            UserError: The strength is not 0 or 1, or is -1 where there is no opposite, or the LM's chat
                template can't carry the prefix.
        """
        note = self.note(lm.resident, strength) if strength else ""
        if note:
            warnings.warn(note, DipoleWarning, stacklevel=2)
        if strength == -1.0 and (self.opposite_directive or self.opposite_examples):
            return lm.with_intervention(self, strength)
        return checked_apply(self, lm, strength, "any model", None)

    def turns(self, strength: float) -> Turns:
        """Directive and examples at a strength."""
        if strength < 0:
            return self.opposite_directive, self.opposite_examples
        return self.directive, self.examples

    def tail(self, strength: float) -> tuple[int, ...]:
        """Nothing stands between the prompt and what is written."""
        del strength
        return ()

    def note(self, resident: Resident, strength: float = 1.0) -> str:
        """A sentence where a model's chat template can't have the directive in the system's turn; else empty.

        Raises:
            UserError: The template shows it nowhere.
        """
        return resident.carried(self.turns(strength))

    def save(self, folder: Path) -> None:
        """Write `dipole.json` and a card."""
        data = asdict(self)
        card = data.pop("card")
        write_folder(folder, {"surface": self.surface, "kind": self.kind, **data}, card=card)

    @classmethod
    def load(cls, folder: Path) -> Prefix:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, {**_FIELDS, **_GONE})
        if not meta["chat"]:
            warnings.warn(
                f"The prefix in {folder} was made to do without chat templates, which is now said of the "
                "model; load it with plain=True.",
                DipoleWarning,
                stacklevel=2,
            )
        return cls(**{name: meta[name] for name in _FIELDS})


def continued(lm: LM, turns: Examples) -> LM:
    """The LM in the middle of a conversation: what was said stands behind its own directives and examples.

    Args:
        lm: The LM, with its interventions.
        turns: Pairs of what the user said and what was answered, the first first.
    """
    found = lm.base.with_intervention(Prefix("", turns), 1.0)  # the first prefix stands last
    for part in lm.applied:
        found = found.with_intervention(part.intervention, part.strength)
    return found


_PAIRS = Optional(Items(Items(Text(), 2, 2), 0, 10_000), ())
_FIELDS: dict[str, Field] = {
    "directive": Text(),
    "examples": _PAIRS,
    "opposite_directive": Optional(Text(), ""),
    "opposite_examples": _PAIRS,
    "facts": Optional(Facts(), {}),
}
_GONE: dict[str, Field] = {"chat": Optional(Flag(), True)}  # what older versions wrote
