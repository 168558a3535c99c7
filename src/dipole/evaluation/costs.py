"""The side effects of a steered LM as changes with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Change, Interval
from dipole.evaluation.divergence import Divergence, divergence
from dipole.evaluation.meters import pooled_change, share_change
from dipole.evaluation.side_effects import (
    contains_claim,
    paired_distinct,
    paired_distinct_left_out,
    repeated_words,
)
from dipole.evaluation.statistics import Resampling, interval, jackknife_interval, mean_interval, quotient
from dipole.lm import LM
from dipole.types import Sample

Array = NDArray[np.float64]


def likelihood_changes(
    before: LM,
    after: LM,
    samples_before: Sequence[Sample],
    samples_after: Sequence[Sample],
    plan: Resampling,
    batch_size: int,
) -> list[Change]:
    """KL to the LM before, and perplexity under it of what both wrote."""
    moved = divergence(before, after, samples_after, batch_size)
    prompts, responses = [s.prompt_ids for s in samples_before], [s.token_ids for s in samples_before]
    own_nats = np.array(
        [-float(row.double().sum()) for row in before.logprobs(prompts, responses, batch_size)]
    )
    old_lengths, new_lengths = _lengths(samples_before), _lengths(samples_after)
    bound = sum(made.kl_bound for made in after.choosers)
    return [
        *kl_changes(moved, new_lengths, plan, bound),
        *perplexity_changes(own_nats, old_lengths, -moved.logprob_before, new_lengths, plan),
    ]


def kl_changes(moved: Divergence, lengths: Array, plan: Resampling, bound: float = 0.0) -> list[Change]:
    """KL a sequence and a token, exact over the vocabulary, and the plain sampled estimate.

    Args:
        moved: Likelihoods of the completions.
        lengths: Their tokens.
        plan: The bootstrap.
        bound: KL in nats a sequence that choosing among continuations adds at most; where it is not 0, the
            sum is the one number given, as it is a bound and no estimate.
    """
    if bound:
        total = Interval(bound + float(moved.kl.mean()), math.nan, math.nan)
        label = "KL to the LM before, a sequence (an upper bound: continuations were chosen)"
        return [Change("kl", label, "nats/sequence", None, total, None, False, len(lengths))]
    sampled = moved.logprob_after - moved.logprob_before

    def change(name: str, label: str, unit: str, value: Interval) -> Change:
        return Change(name, label, unit, None, value, None, False, len(lengths))

    return [
        change("kl", "KL to the LM before, a sequence", "nats/sequence", mean_interval(moved.kl, plan)),
        change(
            "kl_token",
            "KL to the LM before, a token",
            "nats/token",
            interval(np.stack([moved.kl, lengths], axis=1), quotient, plan),
        ),
        change(
            "kl_sampled",
            "KL to the LM before, from the sampled tokens alone",
            "nats/sequence",
            mean_interval(sampled, plan),
        ),
    ]


def perplexity_changes(
    nats_before: Array, tokens_before: Array, nats_after: Array, tokens_after: Array, plan: Resampling
) -> list[Change]:
    """Perplexity under the LM before of completions of both, and the quotient of the two.

    Args:
        nats_before: Loss of each completion of the LM before, summed over its tokens.
        tokens_before: Its tokens.
        nats_after: The same of the LM after, still under the LM before.
        tokens_after: Its tokens.
        plan: The resamples.
    """
    old = np.stack([nats_before, tokens_before], axis=1)
    new = np.stack([nats_after, tokens_after], axis=1)
    both = np.concatenate([old, new], axis=1)
    parts = (
        interval(old, _perplexity, plan),
        interval(new, _perplexity, plan),
        interval(both, lambda sums: _perplexity(sums[..., 2:]) - _perplexity(sums), plan),
    )
    ratio = interval(both, lambda sums: _perplexity(sums[..., 2:]) / _perplexity(sums), plan)
    n = len(old)
    return [
        Change("perplexity_base", "perplexity under the LM before", "", *parts, False, n),
        Change(
            "perplexity_ratio",
            "perplexity under the LM before, over its own",
            "ratio",
            None,
            ratio,
            None,
            False,
            n,
        ),
    ]


def _perplexity(sums: Array) -> Array:
    return np.asarray(np.exp(sums[..., 0] / sums[..., 1]))


def variety_changes(
    dipole: Dipole, before: Sequence[Sample], after: Sequence[Sample], plan: Resampling
) -> list[Change]:
    """Distinct n-grams, repeated claims and self-repetition."""
    old, new = [s.text for s in before], [s.text for s in after]
    claimed, claims = ([contains_claim(text, dipole.claim) for text in part] for part in (old, new))
    looped, loops = ([repeated_words(text) for text in part] for part in (old, new))
    return [
        *distinct_changes(old, new, 1),
        *distinct_changes(old, new, 2),
        share_change(
            "repeated_claim_rate", "completions that hold the claim word for word", claimed, claims, plan
        ),
        pooled_change(
            "self_repetition", "word triples repeated within a completion", "share", looped, loops, plan
        ),
    ]


def distinct_changes(before: Sequence[str], after: Sequence[str], n: int) -> list[Change]:
    """Distinct n-grams per n-gram of words, at equal numbers of completions and of n-grams, and the quotient.

    The set with more n-grams is rarefied to the size of the other, so longer completions are not called
    less varied. Intervals are jackknifed over pairs of completions.
    """
    old, new = paired_distinct(before, after, n)
    left_out = paired_distinct_left_out(before, after, n)
    values = (
        jackknife_interval(old, left_out[:, 0]),
        jackknife_interval(new, left_out[:, 1]),
        jackknife_interval(new - old, left_out[:, 1] - left_out[:, 0]),
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        quotients = left_out[:, 1] / left_out[:, 0]
    ratio = jackknife_interval(new / old if old > 0 else math.nan, quotients, positive=True)
    grams = {1: "words", 2: "word pairs"}[n]
    pairs = len(before)
    return [
        Change(f"distinct_{n}", f"distinct {grams} per {grams[:-1]}", "", *values, False, pairs),
        Change(
            f"distinct_{n}_ratio", f"distinct {grams}, over before", "ratio", None, ratio, None, False, pairs
        ),
    ]


def _lengths(samples: Sequence[Sample]) -> Array:
    return np.array([len(s.token_ids) for s in samples], dtype=np.float64)
