"""How likely the LM before finds what was written, and how far from it the LM after has moved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from dipole.effects import Change, Interval
from dipole.evaluation.divergence import Divergence, divergence
from dipole.evaluation.meters.protocol import Array, Meter, Quantity, Subject, after_only, made
from dipole.evaluation.statistics import Resampling, interval
from dipole.protocols import LM
from dipole.reading.losses import losses
from dipole.types import Sample


@dataclass(eq=False)
class _Passes:
    """Likelihoods under the LM before, read once for all meters that ask for the same samples."""

    before: LM
    batch_size: int
    _last: tuple[LM, Sequence[Sample], Divergence] | None = field(default=None)

    def of(self, lm: LM, samples: Sequence[Sample]) -> Divergence:
        if self._last is None or self._last[0] is not lm or self._last[1] is not samples:
            self._last = lm, samples, self._read(lm, samples)
        return self._last[2]

    def _read(self, lm: LM, samples: Sequence[Sample]) -> Divergence:
        if lm is not self.before:
            return divergence(self.before, lm, samples, self.batch_size)
        own = -losses(lm, samples, self.batch_size)
        return Divergence(np.zeros(len(samples)), own, own)


def meters(subject: Subject) -> list[Meter]:
    """KL to the LM before, and perplexity under it of what both wrote."""
    passes = _Passes(subject.lm, subject.batch_size)

    def kl(lm: LM, samples: Sequence[Sample]) -> Array:
        bound = _bound(lm)
        return np.stack([passes.of(lm, samples).kl + bound, np.full(len(samples), bound > 0)], axis=1)

    def kl_token(lm: LM, samples: Sequence[Sample]) -> Array:
        return _estimated(lm, np.stack([passes.of(lm, samples).kl, _lengths(samples)], axis=1))

    def sampled(lm: LM, samples: Sequence[Sample]) -> Array:
        found = passes.of(lm, samples)
        return _estimated(lm, found.logprob_after - found.logprob_before)

    def nats(lm: LM, samples: Sequence[Sample]) -> Array:
        return np.stack([-passes.of(lm, samples).logprob_before, _lengths(samples)], axis=1)

    name, kl_label = "perplexity under the LM before", "KL to the LM before"
    return [
        Quantity("kl", f"{kl_label}, a sequence", "nats/sequence", "lower", kl, pair=kl_change),
        Quantity("kl_token", f"{kl_label}, a token", "nats/token", "lower", kl_token, pair=_where_known),
        Quantity(
            "kl_sampled", f"{kl_label}, from the sampled tokens alone", "nats/sequence", "lower", sampled,
            pair=_where_known,
        ),
        Quantity("perplexity_base", name, "", "lower", nats, pair=perplexity_change),
        Quantity("perplexity_ratio", f"{name}, over its own", "ratio", "lower", nats, pair=ratio_change),
    ]  # fmt: skip


def kl_change(own: Meter, before: Array, after: Array, plan: Resampling) -> Change:
    """Exact over the vocabulary; where continuations were chosen a bound, which has no interval.

    Args:
        own: The meter.
        before: Not looked at.
        after: `(samples, 2)` KL in nats a sequence, and whether it is only known not to be larger.
        plan: The resamples.
    """
    values, bounded = after[:, 0], bool(after[:, 1].any())
    change = after_only(own, before, values, plan)
    if not bounded:
        return change
    label = f"{own.label} (an upper bound: continuations were chosen)"
    value = Interval(float(values.mean()), math.nan, math.nan)
    return Change(own.name, label, own.unit, None, value, None, own.in_loop, len(values))


def perplexity_change(own: Meter, before: Array, after: Array, plan: Resampling) -> Change:
    """Perplexities of both and their difference, from nats and tokens of each completion, `(samples, 2)`."""
    both = np.concatenate([before, after], axis=1)
    parts = (
        interval(before, _perplexity, plan),
        interval(after, _perplexity, plan),
        interval(both, lambda sums: _perplexity(sums[..., 2:]) - _perplexity(sums), plan),
    )
    return made(own, *parts, n=len(before))


def ratio_change(own: Meter, before: Array, after: Array, plan: Resampling) -> Change:
    """The quotient of the same."""
    both = np.concatenate([before, after], axis=1)
    ratio = interval(both, lambda sums: _perplexity(sums[..., 2:]) / _perplexity(sums), plan)
    return made(own, None, ratio, None, n=len(before))


def _perplexity(sums: Array) -> Array:
    return np.asarray(np.exp(sums[..., 0] / sums[..., 1]))


def _where_known(own: Meter, before: Array, after: Array, plan: Resampling) -> Change | None:
    return None if np.isnan(after).all() else after_only(own, before, after, plan)


def _bound(lm: LM) -> float:
    """KL in nats a sequence that choosing among continuations adds at most."""
    return float(sum(made.kl_bound for made in lm.choosers))


def _estimated(lm: LM, values: Array) -> Array:
    """The values, or none where continuations were chosen, so that only a bound is known."""
    return np.full_like(values, math.nan) if _bound(lm) else values


def _lengths(samples: Sequence[Sample]) -> Array:
    return np.array([len(s.token_ids) for s in samples], dtype=np.float64)
