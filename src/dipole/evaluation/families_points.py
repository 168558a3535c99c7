"""One control at one strength, measured against completions of the base that all controls share."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from dipole.effects import Bystander, Change
from dipole.evaluation.bench import Bench, Read
from dipole.evaluation.families_records import Point
from dipole.evaluation.meters.protocol import Array
from dipole.protocols import LM

TIMED_ROWS = 32
_TIMINGS = 2


def make_point(
    bench: Bench,
    strength: float,
    found: Read,
    extra: Sequence[Change] = (),
    bystanders: Sequence[Bystander] = (),
) -> Point:
    """All quantities of one strength, paired with the base's.

    Args:
        bench: What it was measured on; its own readings make the point at strength 0, which is the base bit
            for bit and is not sampled again.
        strength: The strength.
        found: What was measured.
        extra: Further changes, such as those of the bystanders.
        bystanders: Other dipoles.
    """
    same = [a.token_ids == b.token_ids for a, b in zip(bench.base.samples, found.samples, strict=True)]
    named = ("velma_probability", "kl", *(("claim_share",) if bench.subject.dipole.mentions else ()))
    return Point(
        strength=strength,
        changes=(*bench.changes(found), *extra),
        kl_is_bound=bool(found["kl"][:, 1].any()),
        same=sum(same) / len(same),
        bystanders=tuple(bystanders),
        repeats={name: _means(units(found, name), len(bench.seeds)) for name in named},
    )


def units(found: Read, name: str) -> Array:
    """`(units,)` values of `claim_share`, `velma_probability` or `kl`; the bound where only that is known."""
    values = found[name]
    return values[:, 0] if values.ndim == 2 else values


def _means(values: Array, repeats: int) -> tuple[float, ...]:
    parts = np.split(values, repeats)
    return tuple(float(p[~np.isnan(p)].mean()) if not np.isnan(p).all() else math.nan for p in parts)


def time_ratio(bench: Bench, steered: LM) -> float:
    """Seconds a generated token over those of the base, back to back, the faster of two tries each."""
    prompts, seeds = bench.prompts[:TIMED_ROWS], bench.seeds[0][:TIMED_ROWS]

    def seconds_a_token(lm: LM) -> float:
        started = time.perf_counter()
        samples = lm.sample(prompts, seeds, bench.max_new_tokens, batch_size=bench.subject.batch_size)
        return (time.perf_counter() - started) / max(1, sum(len(s.token_ids) for s in samples))

    times = [(seconds_a_token(bench.subject.lm), seconds_a_token(steered)) for _ in range(_TIMINGS)]
    return min(own for _, own in times) / min(base for base, _ in times)
