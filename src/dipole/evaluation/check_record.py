"""What `check` found, as a record that prints itself."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dipole.effects import Interval
from dipole.evaluation.serialise import plain
from dipole.origin import Origin
from dipole.reading.choice import Choice
from dipole.shown.numbers import NONE, change, number, plain_bounds
from dipole.shown.terminal import columns, one_line


@dataclass(frozen=True)
class Judged:
    """What a recognizer makes of texts whose side is known.

    Attributes:
        name: Of the recognizer.
        apart: Area under the curve between what the LM wrote told the claim, and told the opposite.
        centred: The same when every text's score is less what its prompt alone scores.
        named: The same between texts that name the claim's side first and those that name the other, scored
            in the better of the two ways; NaN without words for the sides, or with few texts of either.
        opinions: Area under the curve between what the LM goes on with behind the claim alone, and behind its
            opposite.
        unscored: How many of the texts could not be scored.
        spread: Standard deviation of log-odds among texts of one prompt, nats.
        prompts: Log-odds of each prompt alone, nats; NaN where it can't be scored.
        neutral: Mean log-odds of sentences that take no side, nats.
        neutral_size: Their mean distance from 0, nats.
        nothing: Log-odds of no text at all, nats; NaN where that can't be scored.
        saturated: Share of the texts whose probability is below 0.05 or above 0.95, in the better way.
        centre: Whether the score less that of the prompt is the better way.
    """

    name: str
    apart: Interval
    centred: Interval
    named: Interval
    opinions: Interval
    unscored: int
    spread: float
    prompts: tuple[float, ...]
    neutral: float
    neutral_size: float
    nothing: float
    saturated: float
    centre: bool

    @property
    def best(self) -> Interval:
        """Of texts whose sides are surest: by the words that they name, or else opinions.

        What was written told a side comes last, since a model that does not do as it is told takes none.
        """
        told = self.centred if self.centre else self.apart
        return next((area for area in (self.named, self.opinions) if not math.isnan(area.mean)), told)


@dataclass(frozen=True)
class Checked:
    """What `check` found.

    Attributes:
        concept: The dipole as plain data.
        prompts: What was completed.
        choices: How the completions of each prompt chose; none where there are no words for the sides.
        told: The same of all that was written told the claim, and told the opposite.
        judged: What each recognizer makes of it.
        reward: The recognizer to be steered with; None where none tells the sides apart.
        held_out: Another one to judge the result; None where there is none.
        entropy: Of the LM's completions, nats a token.
        pole_tokens: Tokens of the claim, and of its opposite.
        advice: What to do, in plain words.
        origin: What makes it again.
    """

    concept: Mapping[str, Any]
    prompts: tuple[str, ...]
    choices: tuple[Choice, ...]
    told: tuple[Choice, ...]
    judged: tuple[Judged, ...]
    reward: str | None
    held_out: str | None
    entropy: float
    pole_tokens: tuple[int, int]
    advice: tuple[str, ...]
    origin: Origin

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON; nothing is rounded."""
        names = ("concept", "prompts", "judged", "reward", "held_out", "entropy", "pole_tokens", "advice")
        data: dict[str, Any] = {name: plain(getattr(self, name)) for name in names}
        for name in ("choices", "told"):
            data[name] = [{**c._asdict(), "forced": c.forced} for c in getattr(self, name)]
        return data

    def __str__(self) -> str:
        """The tables, and what to do."""
        lines = [one_line(f"{self.concept['claim']} / {self.concept['against']}"), ""]
        lines += columns(_JUDGED, [_judged_row(row) for row in self.judged])
        lines += ["", *columns(_PROMPTS, self._prompt_rows(), left=True), ""]
        claim, against = self.pole_tokens
        lines.append(
            f"Completions have {number(self.entropy, 'nats')} nats of entropy a token; the claim has {claim} "
            f"tokens, its opposite {against}."
        )
        return "\n".join([*lines, "", *(f"- {one_line(line)}" for line in self.advice)])

    def _prompt_rows(self) -> list[list[str]]:
        priors = next((row.prompts for row in self.judged if row.name == self.reward), None)
        if priors is None:
            priors = self.judged[0].prompts
        rows = []
        for index, prompt in enumerate(self.prompts):
            choice = self.choices[index] if self.choices else None
            sides = NONE if choice is None else f"{choice.claim} / {choice.against} of {choice.n}"
            rows.append([sides, change(priors[index], "nats"), prompt])
        return rows


_JUDGED = (
    "recognizer", "told", "centred", "by words", "opinions", "interval", "lean: prompts", "neutral",
    "nothing",
)  # fmt: skip
_PROMPTS = ("sides", "lean", "prompt")


def _judged_row(row: Judged) -> list[str]:
    known = [p for p in row.prompts if not math.isnan(p)]
    lean = sum(known) / len(known) if known else math.nan
    return [
        row.name,
        *(number(area.mean) for area in (row.apart, row.centred, row.named, row.opinions)),
        plain_bounds(row.best) or NONE,
        *(change(value, "nats") for value in (lean, row.neutral, row.nothing)),
    ]
