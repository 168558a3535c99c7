"""Choosing a strength (and what else a control leaves open) on prompts that nothing was fitted on."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from dipole.protocols import LM, JudgedBy, Poles
from dipole.reading.losses import loss_under, perplexity_ratio
from dipole.reading.pairs import halves
from dipole.reading.sides import names_both, takes_claim
from dipole.reading.told import spread
from dipole.registry import make_recognizer
from dipole.types import Sample, UserError, scored_text

RULE = (
    "the smallest push whose {measure} on validation prompts is within 0.02 of the best (or "
    "within a tenth of its gain, where that is less), among those whose completions have at most {ceiling:g} "
    "times the base's own perplexity under the base"
)
MEASURES = {
    "velma": "mean VELMA probability",
    "mentions": "share of completions that name the claim's side first",
}
PROBABILITY, SHARE = "mean probability of the claim", "share of the claim's side"
CEILING = 1.2
_NEAR, _TENTH = 0.02, 0.1
_BROKEN = 1.5  # times the ceiling, from where a harder push of the same kind is not worth a try

Made = TypeVar("Made")


@dataclass(frozen=True)
class Trial:
    """One candidate as measured.

    Attributes:
        candidate: What was tried, as plain data, such as layer and strength.
        push: How hard it pushes, to order candidates; the smallest good one is taken.
        score: What the rule names, over its completions: by default the mean VELMA probability of the claim,
            or the share that names the claim's side first.
        perplexity_ratio: Perplexity of its completions under the base, over that of the base's own.
    """

    candidate: Mapping[str, Any]
    push: float
    score: float
    perplexity_ratio: float


@dataclass(frozen=True)
class Selection:
    """Every candidate with its measurements, and which was taken.

    Attributes:
        chosen: Index into `trials`.
        trials: In the order in which they were tried.
        base_score: The score of the base's own completions.
        prompts: Prompts that were continued.
        rule: How the choice was made, in words.
        what: What the score is, in words.
    """

    chosen: int
    trials: tuple[Trial, ...]
    base_score: float
    prompts: tuple[str, ...]
    rule: str
    what: str = PROBABILITY

    @property
    def best(self) -> Trial:
        """The candidate that was taken."""
        return self.trials[self.chosen]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for `dipole.json`: the whole curve."""
        return asdict(self)


def split_prompts(dipole: Poles) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The dipole's prompts in two: to fit on, and to choose on; the held-out ones are for neither.

    With fewer than four prompts both parts are all of them.

    Raises:
        UserError: The dipole has no prompts.
    """
    prompts = dipole.prompts
    if not prompts:
        raise UserError(
            f"The dipole {dipole.label!r} has no prompts to fit on; give some that force the choice, such as "
            '--prompt "If I had to choose between tea and coffee, I\'d pick".'
        )
    return halves(prompts)


def pick(trials: Sequence[Trial], ceiling: float, base_score: float) -> int:
    """Index of the trial that the rule takes; see `RULE`.

    Where no trial is fluent enough, the one with the lowest perplexity is taken.
    """
    fluent = [i for i, t in enumerate(trials) if t.perplexity_ratio <= ceiling and not math.isnan(t.score)]
    if not fluent:
        return min(
            range(len(trials)), key=lambda i: (math.isnan(trials[i].score), trials[i].perplexity_ratio)
        )
    best = max(trials[i].score for i in fluent)
    gain = 0.0 if math.isnan(base_score) else max(best - base_score, 0.0)
    near = [i for i in fluent if trials[i].score >= best - min(_NEAR, _TENTH * gain)]
    return min(near, key=lambda i: (trials[i].push, -trials[i].score))


def choose(
    candidates: Sequence[tuple[Mapping[str, Any], float, Made]],
    measure: Callable[[Made], tuple[float, float]],
    base_score: float,
    prompts: Sequence[str],
    rule: str,
    what: str = PROBABILITY,
) -> Selection:
    """Measure the candidates in their order and pick one.

    What the rule can't take is not tried: a harder push than one that has got all there is and is fluent, and
    harder pushes of a kind (candidates that differ in their push alone) that is far beyond the ceiling.

    Args:
        candidates: For each its plain data, of which the last entry is the push, its push as a number, and
            what is measured.
        measure: Gives score and perplexity ratio, as `Trial` has them.
        base_score: The score without an intervention.
        prompts: What was continued to measure.
        rule: The choice in words, `{ceiling}` in it.
        what: What the score is, in words.
    """
    trials: list[Trial] = []
    broken: list[dict[str, Any]] = []
    enough = math.inf
    for data, push, made in candidates:
        kind = dict(list(data.items())[:-1])
        if kind in broken or push > enough:
            continue
        trials.append(Trial(dict(data), push, *measure(made)))
        if trials[-1].perplexity_ratio > _BROKEN * CEILING:
            broken.append(kind)
        elif trials[-1].score >= 1 - _NEAR and trials[-1].perplexity_ratio <= CEILING:
            enough = min(enough, push)
    chosen = pick(trials, CEILING, base_score)
    return Selection(chosen, tuple(trials), base_score, tuple(prompts), rule.format(ceiling=CEILING), what)


def judges_of(dipole: Poles) -> JudgedBy:
    """Who chooses: what completions name, where the dipole has words for both of its sides, or else VELMA."""
    return JudgedBy(chosen=("mentions" if names_both(dipole) else "velma",))


def scorer_of(lm: LM, dipole: Poles) -> Callable[[Sequence[Sample]], float]:
    """The score of completions by whoever chooses; NaN where none can be scored."""
    if names_both(dipole):

        def named(samples: Sequence[Sample]) -> float:
            return sum(takes_claim(dipole, sample.text) is True for sample in samples) / len(samples)

        return named
    judge = make_recognizer("velma", lm.base)

    def score(samples: Sequence[Sample]) -> float:
        known = [s.probability for s in judge.score([scored_text(x) for x in samples], dipole) if s.is_scored]
        return sum(known) / len(known) if known else math.nan

    return score


def select(
    lm: LM,
    dipole: Poles,
    candidates: Sequence[tuple[Mapping[str, Any], float, Callable[[LM], LM]]],
    prompts: Sequence[str],
    n: int = 32,
    max_new_tokens: int = 28,
    seed: int = 0,
) -> Selection:
    """Try candidates on the same prompts and random numbers, score their completions, and pick by `RULE`.

    Args:
        lm: The LM without the intervention; where VELMA judges, it is with its base.
        dipole: What is wanted.
        candidates: For each its plain data, its push, and what applies it.
        prompts: Prompts to continue, none of which the candidates were fitted on.
        n: Completions a candidate, spread over the prompts; at least one for each.
        max_new_tokens: Token budget of a completion.
        seed: Seed of the completions.
    """
    asked, seeds = spread(prompts, max(n, len(prompts)), seed)
    score = scorer_of(lm, dipole)
    own = lm.sample(asked, seeds, max_new_tokens)
    base_loss = loss_under(lm.base, own)

    def measure(apply: Callable[[LM], LM]) -> tuple[float, float]:
        samples = apply(lm).sample(asked, seeds, max_new_tokens)
        return score(samples), perplexity_ratio(lm.base, samples, base_loss)

    judge = judges_of(dipole).chosen[0]
    what = SHARE if judge == "mentions" else PROBABILITY
    return choose(candidates, measure, score(own), prompts, RULE.replace("{measure}", MEASURES[judge]), what)
