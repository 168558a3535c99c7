"""The logits surface: changes of the next-token distribution that need no gradient.

`Boost` adds a fixed number to each token, `Contrast` what the model says when told one thing against what it
says when told another. Beside this file `experts` has the form with other models, `fudge` the one with a
probe and `pplm` the one with gradients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor

from dipole.decoding.guides import Guide, Session
from dipole.decoding.logit_maths import contrast, plausible
from dipole.files.schema import Field, Number, Optional, Text
from dipole.interventions.folder import (
    BASE,
    checked_apply,
    folder_tensors,
    read_fields,
    require_fit,
    write_folder,
)
from dipole.resident import Resident
from dipole.tensors import Wanted, aligned
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

WEIGHT = Number()


@dataclass(frozen=True, kw_only=True, eq=False)
class LogitChange(ABC):
    """What the interventions on logits have in common: each is for one model, and its strength is graded.

    Attributes:
        base_name: The model it was fitted on.
        base_fingerprint: Its fingerprint.
        facts: How it was made, as plain data, such as the curve of weights.
        card: Model card in Markdown.
    """

    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "logits"
    kind: ClassVar[str]
    graded: ClassVar[bool] = True

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM under guidance; a negative strength leads the other way.

        Raises:
            UserError: The strength is not finite, or the LM is another.
        """
        steered = checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)
        require_fit(lm, self.base_name, **self.reads())
        return steered

    def reads(self) -> dict[str, Any]:
        """Layers, width and tokens that the model must have, as `require_fit` takes them."""
        return {}

    def meta(self, **own: Any) -> dict[str, Any]:
        """What `dipole.json` says: entries of its own between those that all have."""
        base = {"base": self.base_name, "base_fingerprint": self.base_fingerprint}
        return {"surface": self.surface, "kind": self.kind, **base, **own, "facts": self.facts}

    @abstractmethod
    def guide(self, session: Session, strength: float) -> Guide:
        """What changes the logits of one batch."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write tensors, `dipole.json` and a card."""


def made_for(lm: LM) -> dict[str, Any]:
    """The fields that say which model an intervention is for."""
    return {"base_name": lm.resident.name, "base_fingerprint": lm.resident.fingerprint}


class StoredChange(LogitChange):
    """A change of logits whose numbers, texts and tensors are stored under the names of its fields."""

    fields: ClassVar[Mapping[str, Field]] = {}
    tensors: ClassVar[Mapping[str, Wanted]] = {}

    def __post_init__(self) -> None:
        """Bring the numbers to alignment, as they are after they were loaded."""
        for name, tensor in self._tensors().items():
            object.__setattr__(self, name, aligned(tensor))

    def save(self, folder: Path) -> None:
        """Write tensors, `dipole.json` and a card."""
        own = {name: getattr(self, name) for name in self.fields}
        write_folder(folder, self.meta(**own), self._tensors(), self.card)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, {**BASE, **cls.fields})
        stored = folder_tensors(folder, cls.tensors) if cls.tensors else {}
        if wrong := cls.wrong_with(stored):
            raise UserError(f"The tensors in {folder} {wrong}; fit the control again.")
        read: dict[str, Tensor | None] = dict.fromkeys(cls.tensors)
        read |= {name: t.float() if t.is_floating_point() else t for name, t in stored.items()}
        own = {name: meta[name] for name in (*cls.fields, "base_fingerprint", "facts")}
        made: Callable[..., Self] = cls
        return made(base_name=meta["base"], **own, **read)

    @classmethod
    def wrong_with(cls, stored: Mapping[str, Tensor]) -> str:
        """What keeps tensors, each as it was declared, from working together; empty where nothing does."""
        del stored
        return ""

    def _tensors(self) -> dict[str, Tensor]:
        found = {name: getattr(self, name) for name in self.tensors}
        return {name: tensor for name, tensor in found.items() if tensor is not None}


@dataclass(frozen=True, eq=False)
class Boost(StoredChange):
    """Adds strength * value to the logits of some tokens, the same at every step.

    Attributes:
        tokens: `(k,)` int64 ids, each once.
        values: `(k,)` float32 nats at strength 1.
    """

    tokens: Tensor
    values: Tensor

    kind: ClassVar[str] = "boost"
    tensors: ClassVar[Mapping[str, Wanted]] = {
        "tokens": Wanted("whole", ("k",)),
        "values": Wanted("float", ("k",)),
    }

    def reads(self) -> dict[str, Any]:
        """The tokens."""
        return {"tokens": self.tokens}

    def guide(self, session: Session, strength: float) -> BoostGuide:
        """What changes the logits of one batch."""
        del session
        return BoostGuide(self.tokens, self.values * strength)


class BoostGuide:
    """Adds a fixed vector to the logits."""

    streams: Sequence[Sequence[int]] = ()

    def __init__(self, tokens: Tensor, values: Tensor) -> None:
        """Keep what is added."""
        self._tokens, self._values = tokens, values
        self._dense: Tensor | None = None  # (vocab,) where the logits are

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        del streams
        if self._dense is None:
            dense = logits.new_zeros(logits.shape[-1])
            self._dense = dense.index_add(0, self._tokens.to(dense.device), self._values.to(dense.device))
        return logits + self._dense

    def advance(self, tokens: Tensor) -> None:
        """Nothing depends on what was chosen."""

    def keep(self, index: Tensor) -> None:
        """Nothing depends on the rows."""


@dataclass(frozen=True)
class Contrast(StoredChange):
    """Adds strength * weight * (log p_told - log p_other) to the logits.

    `told` stands in front of the user's text in one stream of rows, `other` in a second one; both take the
    tokens that the row takes. Where `other` is empty the second stream is the row itself, which is
    classifier-free guidance with guidance strength * weight and costs one stream instead of two.

    Attributes:
        told: Text in front of the prompt in the stream that is followed.
        other: Text in front of the prompt in the stream that is avoided; empty for the row itself.
        weight: Size at strength 1.
        cut: Only tokens with at least this share of the likeliest may be said, under the row itself or under
            the stream that is followed; 0 is all.
    """

    told: str
    other: str
    weight: float
    cut: float = 0.0

    kind: ClassVar[str] = "contrast"
    fields: ClassVar[Mapping[str, Field]] = {
        "told": Text(),
        "other": Text(),
        "weight": WEIGHT,
        "cut": Optional(Number(0, 1), 0.0),
    }

    def guide(self, session: Session, strength: float) -> ContrastGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: A prompt with the text in front of it does not fit in the context.
        """
        return ContrastGuide(session, self.told, self.other, strength * self.weight, self.cut)


class ContrastGuide:
    """Two further streams a row: one that is followed, one that is avoided."""

    def __init__(self, session: Session, told: str, other: str, weight: float, cut: float = 0.0) -> None:
        """Lay out the streams."""
        self._weight, self._cut = weight, cut
        self.streams: Sequence[Sequence[int]] = [
            stream
            for row in session.rows
            for stream in (
                session.encode(row.text, told),
                session.encode(row.text, other) if other else row.ids,
            )
        ]
        self._room = Room(session.resident, self.streams)

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        towards, away = streams.view(-1, 2, streams.shape[-1]).unbind(1)
        changed = contrast(logits, towards, away, self._weight)
        if self._cut <= 0:
            return changed
        followed = towards if self._weight > 0 else away
        allowed = plausible(logits, self._cut) | plausible(followed, self._cut)
        return changed.masked_fill(~allowed, -torch.inf)

    def advance(self, tokens: Tensor) -> None:
        """Take one more token."""
        del tokens
        self._room.advance()

    def keep(self, index: Tensor) -> None:
        """The decoder keeps the streams."""


class Room:
    """Counts the tokens of a guide's own rows, which are longer than those that the LM has checked."""

    def __init__(self, resident: Resident, rows: Sequence[Sequence[int]]) -> None:
        """Start with the longest row.

        Raises:
            UserError: It does not fit in the context.
        """
        self._resident = resident
        self._used = max((len(row) for row in rows), default=0) - 1
        self.advance()

    def advance(self) -> None:
        """One more token a row.

        Raises:
            UserError: It does not fit in the context.
        """
        self._used += 1
        limit = self._resident.context_length
        if limit is not None and self._used > limit:
            raise UserError(
                f"With what the control puts in front of it, a prompt and its new tokens are more than the "
                f"context of {self._resident.name} ({limit} tokens); shorten the prompt or ask for fewer new "
                "tokens."
            )
