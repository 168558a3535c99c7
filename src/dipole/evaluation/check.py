"""`check`: whether a dipole, its prompts and a recognizer are fit for a model, before anything is fitted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Interval
from dipole.evaluation.bench import prompts_of
from dipole.evaluation.check_advice import advice_on, chosen
from dipole.evaluation.check_record import Checked, Judged
from dipole.evaluation.compare import default_meters
from dipole.evaluation.separation import grouped_separation, separation
from dipole.origin import now, origin
from dipole.progress import Progress, silent
from dipole.protocols import LM, Recognizer
from dipole.reading.choice import Choice, choices
from dipole.reading.told import Told, opinions, tell
from dipole.recognizers.neutral import NEUTRAL
from dipole.registry import make_recognizer
from dipole.types import Sample, UserError

_FEW = 4  # texts that name a side, and completions of a prompt: with fewer nothing can be said
_ENDS = 0.05
_NEUTRAL = 10


def check(
    lm: LM,
    dipole: Dipole,
    recognizers: Sequence[Recognizer | str] | None = None,
    prompts: Sequence[str] | None = None,
    n: int = 48,
    told: int = 16,
    max_new_tokens: int = 20,
    seed: int = 0,
    progress: Progress = silent,
) -> Checked:
    """Measure on the model itself whether there is anything to steer by; nothing is fitted.

    The LM writes completions told the claim, and told its opposite, and goes on behind either alone:
    recognizers should tell these apart. It writes others told nothing: they should take either side, or the
    prompt does not force the choice. What recognizers say of prompts alone, of neutral sentences and of
    nothing is how far they lean by themselves.

    Args:
        lm: The LM, which also reads for the recognizers.
        dipole: What is wanted.
        recognizers: Recognizers or names of some; by default stance and those of `default_meters` but for the
            words of the sides.
        prompts: To complete; by default all that the dipole has.
        n: Completions told nothing, spread over the prompts and at least four a prompt.
        told: Completions under each pole, and half as many opinions behind each.
        max_new_tokens: Token budget of a completion.
        seed: Of the completions.
        progress: Told of each step.

    Raises:
        UserError: There are no prompts or recognizers, a count is not positive, or something does not fit in
            the model.
    """
    started = now()
    for name, value in (("n", n), ("told", told), ("max_new_tokens", max_new_tokens)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, and is {value}.")
    texts = prompts_of(dipole, [*dipole.prompts, *dipole.held_out] if prompts is None else prompts)
    judges = _judges(lm, dipole, recognizers)
    progress("writing told the claim, and its opposite")
    pair = tell(lm, dipole, texts, told, max_new_tokens, seed)
    progress("writing told nothing")
    free_opinions = opinions(lm, dipole, max(1, told // 2), max_new_tokens, seed)
    free = lm.generate(texts, max(_FEW, n // len(texts)), max_new_tokens, seed)
    judged = []
    for judge in judges:
        progress(f"scoring with {judge.name}")
        judged.append(_judged(judge, dipole, texts, pair, free_opinions))
    taken = tuple(choices(dipole, free)) if dipole.mentions else ()
    sides = tuple(_together(dipole, side) for side in (pair.claim, pair.against)) if dipole.mentions else ()
    entropy, lengths = _entropy(free), _pole_tokens(lm, dipole)
    reward, held_out = chosen(judged)
    return Checked(
        dipole.to_dict(), tuple(texts), taken, sides, tuple(judged), reward, held_out, entropy, lengths,
        advice_on(judged, taken, sides, entropy, lengths),
        origin(
            "check", started, lm.resident, concept=dipole.to_dict(), recognizers=[j.name for j in judges],
            prompts=list(texts), n=n, told=told, max_new_tokens=max_new_tokens, seed=seed,
        ),
    )  # fmt: skip


def _judges(lm: LM, dipole: Dipole, asked: Sequence[Recognizer | str] | None) -> list[Recognizer]:
    if asked is None:
        usual = [judge for judge in default_meters(lm, dipole) if judge.name != "mentions"]
        return [make_recognizer("stance", lm.base), *usual]
    found = [make_recognizer(r, lm.base) if isinstance(r, str) else r for r in asked]
    if not found:
        raise UserError("There is no recognizer to check; name one such as stance, or leave recognizers out.")
    return found


class _Scores(NamedTuple):
    """Scores of what was written under each pole, and of prompts alone.

    Attributes:
        claim: `(told,)` nats.
        against: `(told,)` nats.
        own: `(told,)` score of each one's prompt alone; 0 where it can't be scored.
        units: Index of each one's prompt.
    """

    claim: NDArray[np.float64]
    against: NDArray[np.float64]
    own: NDArray[np.float64]
    units: list[int]

    def less_prompts(self) -> _Scores:
        """Each score less its prompt's."""
        return self._replace(claim=self.claim - self.own, against=self.against - self.own)

    @property
    def all(self) -> NDArray[np.float64]:
        """Both sides, one behind the other."""
        return np.concatenate([self.claim, self.against])

    @property
    def apart(self) -> Interval:
        """How well they are told apart."""
        return separation(self.claim, self.against, self.units)


def _judged(
    judge: Recognizer,
    dipole: Dipole,
    prompts: Sequence[str],
    pair: Told,
    free: tuple[Sequence[Sample], Sequence[Sample]],
) -> Judged:
    both = [*pair.claim, *pair.against]
    said = pair.texts(both)
    thought = [sample.text.strip() for side in free for sample in side]
    values, alone, neutral, nothing, opinion = _scored(
        judge, dipole, said, prompts, NEUTRAL[:_NEUTRAL], [""], thought
    )
    units = [prompts.index(prompt) for prompt in pair.prompts]
    count, half = len(units), len(free[0])
    raw = _Scores(values[:count], values[count:], np.nan_to_num(alone)[units], units)
    less = raw.less_prompts()
    apart, centred, spread = raw.apart, less.apart, _spread(raw)
    # Where they tell apart alike, a lean that is wider than what texts of a prompt differ by decides.
    lean = float(np.nanmax(np.abs(alone))) if not np.isnan(alone).all() else 0.0
    centre = centred.mean > apart.mean or (centred.mean >= apart.mean - 0.02 and lean > spread)
    better = less if centre else raw
    sides = [dipole.side_taken(sample.text) if dipole.mentions else None for sample in both]
    known = neutral[~np.isnan(neutral)]
    return Judged(
        judge.name, apart, centred, _by_words(better, sides),
        separation(opinion[:half], opinion[half:], range(half)), int(np.isnan(raw.all).sum()), spread,
        tuple(alone.tolist()), float(known.mean()) if len(known) else math.nan,
        float(np.abs(known).mean()) if len(known) else math.nan, float(nothing[0]),
        _saturated(better.all), centre,
    )  # fmt: skip


def _scored(judge: Recognizer, dipole: Dipole, *groups: Sequence[str]) -> list[NDArray[np.float64]]:
    """Scores of several lists of texts; a text that is in more than one place is scored once."""
    unique = list(dict.fromkeys(text for group in groups for text in group))
    known = dict(zip(unique, (s.value for s in judge.score(unique, dipole)), strict=True))
    return [np.array([known[text] for text in group]) for group in groups]


def _by_words(scores: _Scores, sides: Sequence[str | None]) -> Interval:
    """How well texts that name one side first are told from those that name the other."""
    if min(sides.count("claim"), sides.count("against")) < _FEW:
        return Interval(math.nan, math.nan, math.nan)
    labels = [None if side is None else side == "claim" for side in sides]
    return grouped_separation(scores.all, labels, [*scores.units, *scores.units])


def _spread(scores: _Scores) -> float:
    """Standard deviation of the scores about the mean of their prompt, nats."""
    units, values = np.array([*scores.units, *scores.units]), scores.all
    known = ~np.isnan(values)
    parts = [values[known & (units == unit)] for unit in set(scores.units)]
    squares = sum(float(((part - part.mean()) ** 2).sum()) for part in parts if len(part))
    freedom = int(known.sum()) - sum(1 for part in parts if len(part))
    return math.sqrt(squares / freedom) if freedom > 0 else math.nan


def _saturated(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan
    return float((np.abs(known) > math.log((1 - _ENDS) / _ENDS)).mean())


def _together(dipole: Dipole, samples: Sequence[Sample]) -> Choice:
    sides = [dipole.side_taken(sample.text) for sample in samples]
    return Choice("", len(sides), sides.count("claim"), sides.count("against"))


def _entropy(samples: Sequence[Sample]) -> float:
    """Mean surprise of the tokens drawn: the entropy that they were drawn with, nats a token."""
    drawn = [logprob for sample in samples for logprob in sample.logprobs]
    return -sum(drawn) / len(drawn) if drawn else math.nan


def _pole_tokens(lm: LM, dipole: Dipole) -> tuple[int, int]:
    claim, against = (len(lm.resident.continuation_ids(" " + t)) for t in (dipole.claim, dipole.against))
    return claim, against
