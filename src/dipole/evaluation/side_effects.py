"""What steering may cost in words: variety and repetition. No model here."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dipole.concepts.text import same_text
from dipole.words import words


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """All runs of n words of a text."""
    tokens = words(text)
    return list(zip(*(tokens[k:] for k in range(n)), strict=False))


def ngram_counts(texts: Iterable[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram of words occurs in the pooled texts; none crosses from one text to the next."""
    counts: Counter[tuple[str, ...]] = Counter()
    for text in texts:
        counts.update(ngrams(text, n))
    return counts


def distinct_share(frequencies: Mapping[int, int], draws: int | None = None) -> float:
    """Distinct n-grams per n-gram, expected when only `draws` of them are looked at.

    Distinct-n (Li et al. 2016) falls as text grows longer, so two sets are compared at one number of
    n-grams: the expected number of types among `draws` n-grams drawn without replacement, over `draws`
    (rarefaction; Hurlbert 1971, eq. 14).

    Args:
        frequencies: How many types occur once, twice, …: {frequency: types}.
        draws: N-grams to look at; all of them if None.

    Returns:
        NaN where there are no n-grams to look at.
    """
    total = sum(f * types for f, types in frequencies.items())
    draws = total if draws is None else min(draws, total)
    if draws < 1:
        return math.nan
    expected = 0.0
    for frequency, types in frequencies.items():
        expected += types * (1.0 - _all_missed(total, frequency, draws))
    return expected / draws


def _all_missed(total: int, frequency: int, draws: int) -> float:
    # C(total - frequency, draws) / C(total, draws): no copy of the type among the draws.
    if total - frequency < draws:
        return 0.0
    return math.exp(
        math.lgamma(total - frequency + 1)
        - math.lgamma(total - frequency - draws + 1)
        - math.lgamma(total + 1)
        + math.lgamma(total - draws + 1)
    )


def frequency_table(counts: Mapping[tuple[str, ...], int]) -> Counter[int]:
    """How many types occur once, twice, …."""
    return Counter(counts.values())


def paired_distinct(before: Sequence[str], after: Sequence[str], n: int) -> tuple[float, float]:
    """Distinct-n of two sets of equally many completions, at the smaller set's number of n-grams."""
    old, new = ngram_counts(before, n), ngram_counts(after, n)
    draws = min(old.total(), new.total())
    return distinct_share(frequency_table(old), draws), distinct_share(frequency_table(new), draws)


def paired_distinct_left_out(before: Sequence[str], after: Sequence[str], n: int) -> np.ndarray:
    """`paired_distinct` with each pair of completions left out, `(pairs, 2)`, for the jackknife."""
    pooled = ngram_counts(before, n), ngram_counts(after, n)
    tables = frequency_table(pooled[0]), frequency_table(pooled[1])
    totals = sum(pooled[0].values()), sum(pooled[1].values())
    result = np.empty((len(before), 2))
    for row, texts in enumerate(zip(before, after, strict=True)):
        own = [ngram_counts([text], n) for text in texts]
        draws = min(total - sum(o.values()) for total, o in zip(totals, own, strict=True))
        for side in (0, 1):
            table = tables[side].copy()
            for gram, count in own[side].items():
                whole = pooled[side][gram]
                table[whole] -= 1
                if whole > count:
                    table[whole - count] += 1
            result[row, side] = distinct_share({f: t for f, t in table.items() if t}, draws)
    return result


def repeated_words(text: str, n: int = 3) -> tuple[int, int]:
    """How many n-grams of a text already stood in it, and how many it has."""
    grams = ngrams(text, n)
    return len(grams) - len(set(grams)), len(grams)


def contains_claim(text: str, claim: str) -> bool:
    """Whether the text holds the claim word for word, letter case, white space and spelling (NFC) aside."""
    return same_text(claim) in same_text(text)
