"""Texts by the base, by the steered model, and by the filter that steering must beat."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dipole.decoding.distribution import Decoding
from dipole.effects import Interval
from dipole.evaluation.side_effects import paired_distinct
from dipole.interventions.decode import best_of_each, several
from dipole.pointing.measure import Written, excess, share
from dipole.progress import Progress, silent
from dipole.protocols import Intervention
from dipole.reading.losses import loss_under, perplexity_ratio
from dipole.recognizers.notion import NotionScore
from dipole.recognizers.topic import TopicScore
from dipole.types import Sample, sample_seed, scored_text

if TYPE_CHECKING:
    from dipole.protocols import LM

FILTER = 8
_BATCH = 64


def write_and_measure(
    lm: LM,
    intervention: Intervention,
    pointer: TopicScore,
    recognizer: NotionScore,
    prompts: Sequence[str],
    n: int,
    max_new_tokens: int,
    seed: int,
    *,
    among_true: Interval,
    judge: Callable[[str], bool] | None = None,
    progress: Progress = silent,
) -> tuple[Written, ...]:
    """Write n texts in each way; none for n = 0.

    The filter draws `FILTER` texts for each that it keeps and keeps the one that the weak notion likes best:
    the sampler that the weak notion's outline limits.

    Args:
        lm: The strong model.
        intervention: What steers it.
        pointer: The weak notion.
        recognizer: The refined notion.
        prompts: What the texts stand behind, in turn.
        n: Texts a way.
        max_new_tokens: Token budget of each.
        seed: Of the texts.
        among_true: Share of the true documents that the weak notion takes for its own.
        judge: Whether a text is of the notion.
        progress: Told what is being done.
    """
    if not n:
        return ()
    asked = [prompts[i % len(prompts)] for i in range(n)]
    seeds = [sample_seed(seed, i % len(prompts), i // len(prompts)) for i in range(n)]
    base: list[Sample] = []
    found = []
    for name in ("base", "steered", "reversed", "filtered"):
        progress(f"writing {n} texts: {name}")
        if name == "filtered":
            samples = _filtered(lm, pointer, asked, seeds, max_new_tokens)
        else:
            strength = {"base": 0.0, "steered": 1.0, "reversed": -1.0}[name]
            writer = intervention.apply(lm, strength) if strength else lm
            samples = writer.sample(asked, seeds, max_new_tokens)
        base = base or samples
        found.append(_measured(name, lm, samples, base, pointer, recognizer, among_true, judge))
    return tuple(found)


def _filtered(
    lm: LM, pointer: TopicScore, asked: Sequence[str], seeds: Sequence[int], max_new_tokens: int
) -> list[Sample]:
    drawn = several(lm, asked, seeds, FILTER, max_new_tokens, Decoding(), _BATCH)
    return best_of_each(drawn, [s.value for s in pointer.score([scored_text(d) for d in drawn])], FILTER)


def _measured(
    name: str,
    lm: LM,
    samples: Sequence[Sample],
    base: Sequence[Sample],
    pointer: TopicScore,
    recognizer: NotionScore,
    among_true: Interval,
    judge: Callable[[str], bool] | None,
) -> Written:
    texts = [scored_text(sample) for sample in samples]
    weak = share([score.value > 0 for score in pointer.score(texts)])  # NaN, for no score, is a no
    before, after = paired_distinct([s.text for s in base], [s.text for s in samples], 2)
    return Written(
        name,
        tuple(texts),
        weak,
        share([score.value > 0 for score in recognizer.score(texts)]),
        None if judge is None else share([judge(text) for text in texts]),
        excess(weak, among_true),
        perplexity_ratio(lm.base, samples, loss_under(lm.base, base)),
        after / before if before else float("nan"),
    )
