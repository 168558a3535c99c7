"""One control at one strength, measured against completions of the base that all controls share."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Bystander, Change, Interval
from dipole.evaluation.bystanders import Watched, bystander_effects, watch
from dipole.evaluation.costs import kl_changes, perplexity_changes, variety_changes
from dipole.evaluation.divergence import Divergence, divergence
from dipole.evaluation.families_records import Point
from dipole.evaluation.meters import length_changes, mean_change, side_changes, side_of, truth_changes
from dipole.evaluation.statistics import Resampling, resampling, share_interval
from dipole.evaluation.truth import Truth, speaks_the_world, truth_for
from dipole.lm import LM, sample_seed
from dipole.protocols import Recognizer
from dipole.types import Sample, Score, scored_text

Array = NDArray[np.float64]

TIMED_ROWS = 32
_TIMINGS = 2


def wrong_way(before: Array, after: Array, strength: float, tolerance: float) -> tuple[Array, Array]:
    """Which inputs moved against the sign of the strength, and which with it.

    Args:
        before: `(units,)` VELMA's probability, which, unlike its log-odds, does not tell a text that takes
            the side for sure from one that takes it for surer.
        after: `(units,)` the same after.
        strength: Its sign says where the inputs should go.
        tolerance: Probability by which an input must move to count at all.

    Returns:
        `(units,)` 1 where it moved the wrong way, and the same for the right way; NaN where unscored.
    """
    moved = (after - before) * math.copysign(1.0, strength)
    unknown = np.isnan(moved)
    return tuple(np.where(unknown, math.nan, hits) for hits in (moved < -tolerance, moved > tolerance))  # type: ignore[return-value]


@dataclass(frozen=True)
class Remembering:
    """A recognizer that reads each text once: under common random numbers many are the base's own."""

    recognizer: Recognizer
    _known: dict[tuple[Any, ...], Score] = field(default_factory=dict)

    name: ClassVar[str] = "remembering"

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        """Log-odds of each text; only new ones are read."""
        keys = [(concept.claim, concept.against, text) for text in texts]
        new = list(dict.fromkeys(key for key in keys if key not in self._known))
        found = self.recognizer.score([text for _, _, text in new], concept) if new else []
        self._known.update(zip(new, found, strict=True))
        return [self._known[key] for key in keys]


class Measured(NamedTuple):
    """Completions over all repeats with what stands beside each.

    Attributes:
        samples: In the order of the bench's rows, repeat after repeat.
        sides: Side that each took.
        log_odds: VELMA's, nats; NaN where unscored.
        probabilities: The same as probabilities.
        nats: Loss under the base, summed over the tokens.
        tokens: How many.
        kl: KL to the base, nats a sequence; the bound where only that is known.
    """

    samples: list[Sample]
    sides: list[str | None]
    log_odds: Array
    probabilities: Array
    nats: Array
    tokens: Array
    kl: Array


@dataclass(frozen=True, eq=False)
class Bench:
    """What every control is measured on, with the base's completions.

    Attributes:
        lm: The base.
        dipole: What is wanted.
        prompts: Prompts to continue, one a row of one repeat.
        seeds: For each repeat the seeds of its rows.
        max_new_tokens: Token budget of a completion.
        tolerance: Probability by which an input must move to count as moved.
        batch_size: Rows a forward.
        judge: VELMA, read by the base.
        plan: How units are resampled.
        truth: The microworld's own judge, where it applies.
        base: The base's completions.
    """

    lm: LM
    dipole: Dipole
    prompts: list[str]
    seeds: list[list[int]]
    max_new_tokens: int
    tolerance: float
    batch_size: int
    judge: Remembering
    plan: Resampling
    truth: Truth | None
    base: Measured

    def draw(self, lm: LM, repeat: int) -> list[Sample]:
        """Completions of the rows of one repeat."""
        return lm.sample(self.prompts, self.seeds[repeat], self.max_new_tokens, batch_size=self.batch_size)


def make_bench(
    lm: LM,
    dipole: Dipole,
    judge: Recognizer,
    n: int,
    seed: int,
    repeats: int,
    max_new_tokens: int,
    tolerance: float,
    batch_size: int,
) -> Bench:
    """Sample the base once for all controls.

    Args:
        lm: The base.
        dipole: What is wanted; its held-out prompts are continued, or else its prompts.
        judge: Scores completions.
        n: Completions a repeat, at least one a prompt.
        seed: Seed of the first repeat and of the bootstrap.
        repeats: How many.
        max_new_tokens: Token budget of a completion.
        tolerance: Probability by which an input must move to count as moved.
        batch_size: Rows a forward.
    """
    texts = list(dict.fromkeys(dipole.held_out or dipole.prompts))
    rows = [(k % len(texts), k // len(texts)) for k in range(max(n, len(texts)))]
    rows.sort()
    seeds = [[sample_seed(seed + r, i, k) for i, k in rows] for r in range(repeats)]
    prompts = [texts[i] for i, _ in rows]
    remembering = Remembering(judge)
    samples = [s for own in seeds for s in lm.sample(prompts, own, max_new_tokens, batch_size=batch_size)]
    base = _measured(dipole, remembering, samples, own_nats(lm, samples, batch_size), np.zeros(len(samples)))
    truth = truth_for(dipole)
    truth = truth if truth is not None and speaks_the_world(truth, samples) else None
    plan = resampling([i for _ in range(repeats) for i, _ in rows], seed)
    return Bench(
        lm, dipole, prompts, seeds, max_new_tokens, tolerance, batch_size, remembering, plan, truth, base
    )  # fmt: skip


def own_nats(lm: LM, samples: Sequence[Sample], batch_size: int) -> Array:
    """Loss of each completion under the base, without what a control put around its prompt."""
    prompts = [lm.prompt_ids(s.prompt) for s in samples]
    rows = lm.logprobs(prompts, [s.token_ids for s in samples], batch_size)
    return np.array([-float(row.double().sum()) for row in rows])


def _measured(dipole: Dipole, judge: Remembering, samples: list[Sample], nats: Array, kl: Array) -> Measured:
    scores = judge.score([scored_text(s) for s in samples], dipole)
    return Measured(
        samples,
        [side_of(dipole, s) for s in samples],
        np.array([score.value for score in scores]),
        np.array([score.probability for score in scores]),
        nats,
        np.array([len(s.token_ids) for s in samples], dtype=np.float64),
        kl,
    )


def measure(bench: Bench, steered: Sequence[LM], bound: float | None) -> tuple[Measured, Divergence | None]:
    """Sample a control at one strength in every repeat.

    Args:
        bench: What it is measured on.
        steered: The LM of each repeat.
        bound: Largest KL that it can have where its distribution can't be written down; None where it can.

    Returns:
        What was measured, and the divergence from the base where it could be computed.
    """
    drawn = [bench.draw(lm, r) for r, lm in enumerate(steered)]
    samples = [s for part in drawn for s in part]
    if bound is not None:
        nats = own_nats(bench.lm, samples, bench.batch_size)
        kl = np.full(len(samples), bound)
        return _measured(bench.dipole, bench.judge, samples, nats, kl), None
    parts = [
        divergence(bench.lm, lm, part, bench.batch_size) for lm, part in zip(steered, drawn, strict=True)
    ]
    moved = Divergence(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return (
        _measured(bench.dipole, bench.judge, samples, -moved.logprob_before, moved.kl),
        moved,
    )


def make_point(
    bench: Bench,
    strength: float,
    found: Measured,
    moved: Divergence | None,
    in_loop: Sequence[str] = (),
    extra: Sequence[Change] = (),
    bystanders: Sequence[Bystander] = (),
) -> Point:
    """All quantities of one strength, paired with the base's.

    Args:
        bench: What it was measured on.
        strength: The strength.
        found: What was measured.
        moved: Its divergence from the base; None where `found.kl` is a bound.
        in_loop: Names of recognizers that the control optimised.
        extra: Further changes, such as those of the bystanders.
        bystanders: Other dipoles.
    """
    old, plan = bench.base, bench.plan
    changes: list[Change] = []
    if bench.dipole.mentions:
        changes += side_changes(old.sides, found.sides, plan, in_loop="mentions" in in_loop)
    if bench.truth is not None:
        changes += truth_changes(bench.truth, old.samples, found.samples, plan)
    changes += _velma(bench, found, "velma" in in_loop)
    changes += _wrong_way(bench, found, strength, "velma" in in_loop)
    changes += [_bound(found)] if moved is None else kl_changes(moved, found.tokens, plan)
    changes += perplexity_changes(old.nats, old.tokens, found.nats, found.tokens, plan)
    changes += variety_changes(bench.dipole, old.samples, found.samples, plan)
    changes += length_changes(old.samples, found.samples, plan)
    same = [a.token_ids == b.token_ids for a, b in zip(old.samples, found.samples, strict=True)]
    return Point(
        strength=strength,
        changes=(*changes, *extra),
        kl_is_bound=moved is None,
        same=sum(same) / len(same),
        bystanders=tuple(bystanders),
        repeats=_by_repeat(bench, found),
    )


def _velma(bench: Bench, found: Measured, in_loop: bool) -> list[Change]:
    role = ", the reward itself" if in_loop else ""
    old, plan = bench.base, bench.plan
    return [
        mean_change(
            "velma_probability", f"velma probability{role}", "probability",
            old.probabilities, found.probabilities, plan, in_loop,
        ),
        mean_change(
            "velma_log_odds", f"velma log-odds{role}", "nats", old.log_odds, found.log_odds, plan, in_loop
        ),
    ]  # fmt: skip


def _wrong_way(bench: Bench, found: Measured, strength: float, in_loop: bool) -> list[Change]:
    hits = wrong_way(bench.base.probabilities, found.probabilities, strength, bench.tolerance)
    changes = []
    for name, way, hit in zip(("wrong_way_share", "right_way_share"), ("wrong", "right"), hits, strict=True):
        unscored = int(np.isnan(hit).sum())
        label = f"inputs that velma saw move the {way} way by more than {bench.tolerance:g} in probability"
        value = share_interval(hit, bench.plan)
        changes.append(
            Change(name, label, "share", None, value, None, in_loop, len(hit) - unscored, unscored)
        )
    return changes


def _bound(found: Measured) -> Change:
    value = Interval(float(found.kl[0]), math.nan, math.nan)
    label = "KL to the LM before, a sequence, at most"
    return Change("kl", label, "nats/sequence", None, value, None, False, len(found.kl))


def _by_repeat(bench: Bench, found: Measured) -> dict[str, tuple[float, ...]]:
    repeats = len(bench.seeds)

    def means(values: Array) -> tuple[float, ...]:
        parts = np.split(values, repeats)
        return tuple(float(p[~np.isnan(p)].mean()) if not np.isnan(p).all() else math.nan for p in parts)

    by_name = {"velma_probability": means(found.probabilities), "kl": means(found.kl)}
    if bench.dipole.mentions:
        by_name["claim_share"] = means(claims(found))
    return by_name


def claims(found: Measured) -> Array:
    """`(units,)` 1 where a completion took the claim's side."""
    return np.array([side == "claim" for side in found.sides], dtype=np.float64)


def base_point(bench: Bench) -> Point:
    """The point at strength 0, which is the base bit for bit and is not sampled again."""
    zeros = np.zeros(len(bench.base.samples))
    own = Divergence(zeros, -bench.base.nats, -bench.base.nats)
    return make_point(bench, 0.0, bench.base, own)


def watch_base(bench: Bench, dipoles: Sequence[Dipole], n: int, seed: int) -> list[Watched]:
    """The bystanders' completions by the base, to be paired with each control's."""
    return watch(bench.lm, bench.lm, dipoles, n, seed, bench.max_new_tokens, 4 * bench.batch_size)


def watch_control(
    bench: Bench, steered: LM, watched: Sequence[Watched], seed: int
) -> tuple[list[Bystander], list[Change]]:
    """Shift of each bystander under a control, from the prompts and seeds that the base had.

    Args:
        bench: Base and judge.
        steered: The LM under the control.
        watched: What the base wrote.
        seed: Seed of the bootstrap.
    """
    before = [s for w in watched for s in w.before]
    drawn = iter(
        steered.sample(
            [s.prompt for s in before],
            [s.seed for s in before],
            bench.max_new_tokens,
            batch_size=4 * bench.batch_size,
        )
    )
    pairs = [w._replace(after=[next(drawn) for _ in w.before]) for w in watched]
    return bystander_effects(pairs, bench.judge, seed)


def time_ratio(bench: Bench, steered: LM) -> float:
    """Seconds a generated token over those of the base, back to back, the faster of two tries each."""
    prompts, seeds = bench.prompts[:TIMED_ROWS], bench.seeds[0][:TIMED_ROWS]

    def seconds_a_token(lm: LM) -> float:
        started = time.perf_counter()
        samples = lm.sample(prompts, seeds, bench.max_new_tokens, batch_size=bench.batch_size)
        return (time.perf_counter() - started) / max(1, sum(len(s.token_ids) for s in samples))

    times = [(seconds_a_token(bench.lm), seconds_a_token(steered)) for _ in range(_TIMINGS)]
    return min(own for _, own in times) / min(base for base, _ in times)
