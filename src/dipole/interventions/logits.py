"""The logits surface: changes of the next-token distribution that need no gradient.

`Boost` adds a fixed number to each token, `Contrast` what the model says when told one thing against what it
says when told another. `_experts` beside this file has the form with
other models, `_pplm` the one with gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dipole.decoding.guides import Session
from dipole.decoding.logit_maths import contrast
from dipole.files.schema import Number, Text
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
    from dipole.lm import LM

WEIGHT = Number()


@dataclass(frozen=True, eq=False)
class Boost:
    """Adds strength * value to the logits of some tokens, the same at every step.

    Attributes:
        tokens: `(k,)` int64 ids, each once.
        values: `(k,)` float32 nats at strength 1.
        base_name: The model whose tokens they are.
        base_fingerprint: Its fingerprint.
        facts: How it was made, as plain data: words, the curve of weights.
        card: Model card in Markdown.
    """

    tokens: Tensor
    values: Tensor
    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "logits"
    kind: ClassVar[str] = "boost"
    graded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Bring the numbers to alignment, as they are after they were loaded."""
        for name in ("tokens", "values"):
            object.__setattr__(self, name, aligned(getattr(self, name)))

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with these tokens likelier; negative strengths make them less likely.

        Raises:
            UserError: The strength is not finite, or the LM is another.
        """
        steered = checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)
        require_fit(lm, self.base_name, tokens=self.tokens)
        return steered

    def guide(self, session: Session, strength: float) -> BoostGuide:
        """What changes the logits of one batch."""
        del session
        return BoostGuide(self.tokens, self.values * strength)

    def save(self, folder: Path) -> None:
        """Write tensors, `dipole.json` and a card."""
        meta = {"surface": self.surface, "kind": self.kind, **base_of(self), "facts": self.facts}
        write_folder(folder, meta, {"tokens": self.tokens, "values": self.values}, self.card)

    @classmethod
    def load(cls, folder: Path) -> Boost:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, BASE)
        stored = folder_tensors(
            folder, {"tokens": Wanted("whole", ("k",)), "values": Wanted("float", ("k",))}
        )
        return cls(
            stored["tokens"], stored["values"].float(), meta["base"], meta["base_fingerprint"], meta["facts"]
        )


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
class Contrast:
    """Adds strength * weight * (log p_told - log p_other) to the logits.

    `told` stands in front of the user's text in one stream of rows, `other` in a second one; both take the
    tokens that the row takes. Where `other` is empty the second stream is the row itself, which is
    classifier-free guidance with guidance strength * weight and costs one stream instead of two.

    Attributes:
        told: Text in front of the prompt in the stream that is followed.
        other: Text in front of the prompt in the stream that is avoided; empty for the row itself.
        weight: Size at strength 1.
        base_name: The model it was fitted on.
        base_fingerprint: Its fingerprint.
        facts: How it was made, as plain data: the curve of weights.
        card: Model card in Markdown.
    """

    told: str
    other: str
    weight: float
    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""

    surface: ClassVar[Surface] = "logits"
    kind: ClassVar[str] = "contrast"
    graded: ClassVar[bool] = True

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM that follows the one told; negative strengths avoid it.

        Raises:
            UserError: The strength is not finite, or the LM is another.
        """
        return checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)

    def guide(self, session: Session, strength: float) -> ContrastGuide:
        """What changes the logits of one batch.

        Raises:
            UserError: A prompt with the text in front of it does not fit in the context.
        """
        return ContrastGuide(session, self.told, self.other, strength * self.weight)

    def save(self, folder: Path) -> None:
        """Write `dipole.json` and a card."""
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            **base_of(self),
            "told": self.told,
            "other": self.other,
            "weight": self.weight,
            "facts": self.facts,
        }
        write_folder(folder, meta, card=self.card)

    @classmethod
    def load(cls, folder: Path) -> Contrast:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, {**BASE, "told": Text(), "other": Text(), "weight": WEIGHT})
        return cls(*(meta[name] for name in ("told", "other", "weight", "base", "base_fingerprint", "facts")))


class ContrastGuide:
    """Two further streams a row: one that is followed, one that is avoided."""

    def __init__(self, session: Session, told: str, other: str, weight: float) -> None:
        """Lay out the streams."""
        self._weight = weight
        self.streams: Sequence[Sequence[int]] = [
            stream
            for row in session.rows
            for stream in (
                session.encode(in_front(told, row.text)),
                session.encode(in_front(other, row.text)) if other else row.ids,
            )
        ]
        self._room = Room(session.resident, self.streams)

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        towards, away = streams.view(-1, 2, streams.shape[-1]).unbind(1)
        return contrast(logits, towards, away, self._weight)

    def advance(self, tokens: Tensor) -> None:
        """Take one more token."""
        del tokens
        self._room.advance()

    def keep(self, index: Tensor) -> None:
        """The decoder keeps the streams."""


def in_front(told: str, prompt: str) -> str:
    """The user's text with what the model is told in front of it."""
    return f"{told} {prompt}" if prompt else told


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


def base_of(made: Any) -> dict[str, str]:
    """The entries of `dipole.json` that say which model an intervention is for."""
    return {"base": made.base_name, "base_fingerprint": made.base_fingerprint}
