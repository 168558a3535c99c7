"""The records that flow between the parts, and the protocols that the parts follow.

This module imports nothing else of ours, so every other module may import it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from dipole.lm import LM

FinishReason = Literal["eos", "length"]
Surface = Literal["prompt", "weights", "activations", "tokens", "logits", "decode"]


class UserError(ValueError):
    """Something the user can put right: the message says what was wanted, what came, and what to do.

    The command line prints the message alone and exits with code 2.
    """


class DipoleWarning(UserWarning):
    """Something the user should know although the work goes on."""


MOST_COUNT = 1_000_000  # completions of one call, tokens of one completion, and the like
MOST_SEED = 2**32 - 1  # what every library that draws can hold


def check_seed(seed: int, most: int = MOST_SEED) -> None:
    """Refuse a seed that some library can't hold.

    Raises:
        UserError: It is below 0 or above `most`.
    """
    if not 0 <= seed <= most:
        raise UserError(f"The seed must be from 0 to {most}, and is {seed}.")


@dataclass(frozen=True)
class Sample:
    """One completion.

    Attributes:
        prompt: The text that was continued.
        text: The continuation alone, special tokens removed.
        prompt_ids: Token ids fed to the model before the first sampled token.
        token_ids: Sampled token ids, the end-of-text token included where one was drawn.
        logprobs: Log-probability in nats of each of `token_ids` under the distribution it was sampled from.
        seed: Seed of this sample alone; the same seed and LM give the same sample in any batch.
        finish_reason: `eos`, or `length` where the token budget ended it.
    """

    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    seed: int
    finish_reason: FinishReason

    @property
    def full_text(self) -> str:
        """Prompt and continuation."""
        return self.prompt + self.text


def scored_text(sample: Sample) -> str:
    """What recognizers read of a sample, as a reward and as a meter alike: prompt and continuation."""
    return sample.full_text


@dataclass(frozen=True)
class Score:
    """How strongly a text leans towards a concept.

    Attributes:
        value: Log-odds in nats, positive towards the concept; NaN where the text could not be scored.
        reason: Why it could not be scored, or a remark (a text that was cut); None otherwise.
    """

    value: float
    reason: str | None = None

    @classmethod
    def unscored(cls, reason: str) -> Score:
        """A score that means stay out of it: NaN with its reason."""
        return cls(math.nan, reason)

    @property
    def is_scored(self) -> bool:
        """Whether the value is a number."""
        return not math.isnan(self.value)

    @property
    def probability(self) -> float:
        """Sigmoid of the log-odds, computed without overflow; NaN where unscored."""
        if math.isnan(self.value):
            return math.nan
        if self.value >= 0:
            return 1.0 / (1.0 + math.exp(-self.value))
        odds = math.exp(self.value)
        return odds / (1.0 + odds)


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval; NaN bounds where there was too little to resample."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """One quantity before and after, over the same prompts and seeds.

    Attributes:
        name: Machine name of the quantity, such as `claim_share`.
        label: The same for a reader.
        unit: `share`, `nats`, `nats/token`, `nats/sequence`, `probability`, `ratio` or ``.
        before: Value for the LM before, None where it is not defined (a divergence from itself).
        after: Value for the LM after.
        difference: Paired difference, after - before, with its interval; None where before is None.
        in_loop: Whether the quantity was part of what the control optimised.
        n: How many paired units stand behind it.
        unscored: How many could not be scored.
    """

    name: str
    label: str
    unit: str
    before: Interval | None
    after: Interval
    difference: Interval | None
    in_loop: bool
    n: int
    unscored: int = 0


@dataclass(frozen=True)
class Bystander:
    """What happened to a dipole that nobody asked to move.

    Attributes:
        name: Name of the dipole.
        before: Mean probability of its claim before.
        after: The same after.
        shift: Paired difference with its interval.
    """

    name: str
    before: float
    after: float
    shift: Interval


@dataclass(frozen=True)
class Effect:
    """What changed between two LMs, and what else changed with it.

    Attributes:
        concept: The concept as plain data.
        prompts: Prompts that were continued.
        held_out: Whether no prompt among them was trained on.
        changes: Quantities before and after, the main one first.
        bystanders: Other dipoles on their own prompts.
        samples_before: Completions of the LM before.
        samples_after: Completions of the LM after, paired with those before by prompt and seed.
        sides_before: Side taken by each completion: `claim`, `against`, or None.
        sides_after: The same after.
        notes: Plain sentences that a reader must see first, such as that it did nothing.
    """

    concept: dict[str, Any]
    prompts: tuple[str, ...]
    held_out: bool
    changes: tuple[Change, ...]
    bystanders: tuple[Bystander, ...] = ()
    samples_before: tuple[Sample, ...] = ()
    samples_after: tuple[Sample, ...] = ()
    sides_before: tuple[str | None, ...] = ()
    sides_after: tuple[str | None, ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __getitem__(self, name: str) -> Change:
        """The change of that name."""
        for change in self.changes:
            if change.name == name:
                return change
        raise KeyError(f"no change named {name!r}; there are: {', '.join(c.name for c in self.changes)}")


@runtime_checkable
class Concept(Protocol):
    """What is wanted, as plain text data."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that makes the concept again."""
        ...


@runtime_checkable
class Recognizer(Protocol):
    """Scores text for a concept."""

    name: ClassVar[str]

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        """Log-odds in nats of each text, positive towards the concept."""
        ...


@runtime_checkable
class Intervention(Protocol):
    """The fitted artefact of a control, on one surface of an LM."""

    surface: ClassVar[Surface]
    kind: ClassVar[str]
    graded: ClassVar[bool]

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with this intervention engaged; `lm` stays as it was."""
        ...

    def save(self, folder: Path) -> None:
        """Write the intervention as safetensors and JSON."""
        ...


class Control(Protocol):
    """Fits an intervention for a concept."""

    name: ClassVar[str]

    def fit(self, lm: LM, concept: Any) -> Intervention:
        """Fit to the LM; the LM stays as it was."""
        ...
