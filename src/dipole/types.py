"""The smallest records, errors and limits; this module imports nothing else of ours, so every other may."""

from __future__ import annotations

import math
from dataclasses import Field, dataclass, fields
from typing import Any, Literal

FinishReason = Literal["eos", "length"]
Side = Literal["claim", "against"]
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


def sample_seed(seed: int, prompt_index: int, sample_index: int) -> int:
    """A 63-bit seed of one sample (splitmix64 over the three numbers)."""
    state = seed & 0xFFFFFFFFFFFFFFFF
    for part in (prompt_index, sample_index):
        state = (state + 0x9E3779B97F4A7C15 * (part + 1)) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1


def fields_of(made: Any) -> list[Field[Any]]:
    """The fields of a dataclass in the order of its constructor: those by keyword alone come last."""
    return sorted(fields(made), key=lambda field: bool(field.kw_only))


@dataclass(frozen=True)
class Sample:
    """One completion.

    Attributes:
        prompt: The text that was continued, or what the user said in a chat.
        text: The continuation alone, special tokens removed; in a chat the reply, without its thinking.
        prompt_ids: Token ids fed to the model before the first sampled token.
        token_ids: Sampled token ids, the end-of-text token included where one was drawn.
        logprobs: Log-probability in nats of each of `token_ids` under the distribution it was sampled from.
        seed: Seed of this sample alone; the same seed and LM give the same sample in any batch.
        finish_reason: `eos`, or `length` where the token budget ended it.
        joint: What stands between the two where they are read as one text: nothing behind a text that was
            continued, an end of line behind what was said in a chat.
    """

    prompt: str
    text: str
    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    seed: int
    finish_reason: FinishReason
    joint: str = ""

    @property
    def full_text(self) -> str:
        """Prompt and continuation."""
        return self.prompt + self.joint + self.text


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
