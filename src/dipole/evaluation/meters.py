"""What is measured on every completion: the side that it takes, its score, its length."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Change
from dipole.evaluation.statistics import (
    Resampling,
    interval,
    mean_interval,
    quotient,
    quotient_difference,
    share_interval,
)
from dipole.evaluation.truth import Truth
from dipole.protocols import Recognizer
from dipole.types import Sample, Score, scored_text

Array = NDArray[np.float64]
Side = Literal["claim", "against"]


def side_of(dipole: Dipole, sample: Sample) -> Side | None:
    """The side whose words the completion names first; the prompt, which names both, does not count."""
    return dipole.side_taken(sample.text)


def score_samples(recognizer: Recognizer, samples: Sequence[Sample], dipole: Dipole) -> list[Score]:
    """One score a sample; equal texts, frequent under common random numbers, are scored once."""
    texts = [scored_text(sample) for sample in samples]
    unique = list(dict.fromkeys(texts))
    scores = dict(zip(unique, recognizer.score(unique, dipole), strict=True))
    return [scores[text] for text in texts]


def share_change(
    name: str,
    label: str,
    before: Sequence[bool],
    after: Sequence[bool],
    plan: Resampling,
    in_loop: bool = False,
) -> Change:
    """Share of completions of which something holds."""
    old, new = np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)
    difference = mean_interval(new - old, plan)
    return Change(
        name,
        label,
        "share",
        share_interval(old, plan),
        share_interval(new, plan),
        difference,
        in_loop,
        len(old),
    )


def mean_change(
    name: str, label: str, unit: str, before: Array, after: Array, plan: Resampling, in_loop: bool = False
) -> Change:
    """Mean of a number; pairs in which either is NaN are left out and counted."""
    lost = np.isnan(before) | np.isnan(after)
    before, after = np.where(lost, math.nan, before), np.where(lost, math.nan, after)
    old, new, difference = (mean_interval(values, plan) for values in (before, after, after - before))
    return Change(name, label, unit, old, new, difference, in_loop, int((~lost).sum()), int(lost.sum()))


def pooled_change(
    name: str,
    label: str,
    unit: str,
    before: Sequence[tuple[int, int]],
    after: Sequence[tuple[int, int]],
    plan: Resampling,
) -> Change:
    """Pooled quotient of two counts a completion, such as grammatical sentences over sentences."""
    columns = np.concatenate([np.array(before, dtype=np.float64), np.array(after, dtype=np.float64)], axis=1)
    parts = (
        interval(columns[:, :2], quotient, plan),
        interval(columns[:, 2:], quotient, plan),
        interval(columns, quotient_difference, plan),
    )
    return Change(name, label, unit, *parts, False, len(columns))


def side_changes(
    before: Sequence[str | None],
    after: Sequence[str | None],
    plan: Resampling,
    prefix: str = "",
    by: str = "by first mention",
    in_loop: bool = False,
) -> list[Change]:
    """Shares of completions on either side."""
    return [
        share_change(
            f"{prefix}{side}_share",
            f"on the {title} side, {by}",
            [s == side for s in before],
            [s == side for s in after],
            plan,
            in_loop,
        )
        for side, title in (("claim", "claim's"), ("against", "counterclaim's"))
    ]


def truth_changes(
    truth: Truth, before: Sequence[Sample], after: Sequence[Sample], plan: Resampling
) -> list[Change]:
    """Sides and grammar as the microworld's judge reads them."""
    sides = [[truth.side(s) for s in part] for part in (before, after)]
    old, new = ([truth.grammar(s) for s in part] for part in (before, after))
    return [
        *side_changes(sides[0], sides[1], plan, "truth_", "by the microworld's own truth"),
        pooled_change(
            "grammatical_share", "sentences that the microworld can produce", "share", old, new, plan
        ),
    ]


def recognizer_changes(
    recognizer: Recognizer,
    dipole: Dipole,
    before: Sequence[Sample],
    after: Sequence[Sample],
    plan: Resampling,
    in_loop: bool,
) -> list[Change]:
    """Mean log-odds and mean probability of one recognizer."""
    scores = score_samples(recognizer, [*before, *after], dipole)
    old, new = scores[: len(before)], scores[len(before) :]
    role = ", the reward itself" if in_loop else ""

    def change(name: str, label: str, unit: str, value: Callable[[Score], float]) -> Change:
        old_values, new_values = (np.array([value(s) for s in part]) for part in (old, new))
        label = f"{recognizer.name} {label}{role}"
        return mean_change(f"{recognizer.name}_{name}", label, unit, old_values, new_values, plan, in_loop)

    return [
        change("probability", "probability", "probability", lambda s: s.probability),
        change("log_odds", "log-odds", "nats", lambda s: s.value),
    ]


def length_changes(before: Sequence[Sample], after: Sequence[Sample], plan: Resampling) -> list[Change]:
    """Length in tokens, and how many completions ended by themselves."""
    old, new = (np.array([len(s.token_ids) for s in part], dtype=np.float64) for part in (before, after))
    ended_before, ended_after = ([s.finish_reason == "eos" for s in part] for part in (before, after))
    return [
        mean_change("mean_length", "length, end of text included", "tokens", old, new, plan),
        share_change("eos_rate", "completions that ended by themselves", ended_before, ended_after, plan),
    ]
