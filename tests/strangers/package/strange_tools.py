"""A concept, a recognizer, a meter, a control and what it makes, by somebody who only read the protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from dipole import Dipole
from dipole.decoding.guides import Session
from dipole.evaluation.meters.protocol import Quantity, Subject
from dipole.files.schema import Field, Number
from dipole.interventions.logits import BoostGuide, StoredChange, made_for
from dipole.protocols import JudgedBy, Run
from dipole.types import Score, Surface, UserError

if TYPE_CHECKING:
    from dipole.lm import LM


class Preference(Dipole):
    """A dipole that is written as two names, of what is liked and of what it is liked over."""

    kind: ClassVar[str] = "preference"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: str = "The preference") -> Preference:
        """From the two names, or from what `to_dict` gave."""
        values = {name: value for name, value in data.items() if name != "kind"}
        if "liked" not in values:
            return cls(**values)
        liked, over = str(values["liked"]), values.get("over")
        if not isinstance(over, str):
            raise UserError(f"{where} says what is liked and not over what; give it as `over`.")
        return cls(
            f"{liked.capitalize()} are the best.",
            f"{liked.capitalize()} are the worst.",
            prompts=(f"If I had to choose between {liked} and {over}, I'd pick",),
            held_out=(f"Between {liked} and {over} I would take",),
            mentions={"claim": [liked], "against": [over]},  # type: ignore[arg-type]
        )


@dataclass(frozen=True)
class Wordy:
    """Scores a text by how many words it has beyond ten."""

    name: ClassVar[str] = "wordy"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        """A tenth of a nat a word."""
        return [Score((len(t.split()) - 10) / 10) if t else Score.unscored("it is empty") for t in texts]


def commas(subject: Subject) -> Iterator[Quantity]:
    """Commas among the characters of the completions."""
    del subject
    yield Quantity(
        "commas", "commas among the characters", "share", "none",
        lambda lm, samples: [(s.text.count(","), max(len(s.text), 1)) for s in samples],
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Ending(StoredChange):
    """Makes the tokens that end a text likelier, or less likely.

    Attributes:
        nats: What is added at strength 1.
    """

    nats: float

    kind: ClassVar[str] = "ending"
    fields: ClassVar[Mapping[str, Field]] = {"nats": Number()}

    def guide(self, session: Session, strength: float) -> BoostGuide:
        """What changes the logits of one batch."""
        ends = torch.tensor(sorted(session.resident.eos_ids), dtype=torch.long)
        return BoostGuide(ends, torch.full((len(ends),), self.nats * strength))


@dataclass(frozen=True)
class Brief:
    """Say less.

    Attributes:
        nats: How much likelier every end becomes.
    """

    nats: float = 2.0

    name: ClassVar[str] = "brief"
    takes: ClassVar[tuple[str, ...]] = ("dipole", "preference")
    surface: ClassVar[Surface] = "logits"
    makes: ClassVar[type[Ending]] = Ending
    graded: ClassVar[bool] = True
    paper: ClassVar[str] = ""
    optional_concept: ClassVar[bool] = True
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Ending:
        """Nothing is measured."""
        del concept, run
        return Ending(self.nats, **made_for(lm))
