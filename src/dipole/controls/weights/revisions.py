"""What a revision must be to be learned from: maths of two texts, and the first reason against them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from dipole.concepts import Avoid
from dipole.concepts.mentions import spans
from dipole.words import words


class Limits(Protocol):
    """How near a revision must be to its original."""

    @property
    def low(self) -> float: ...  # noqa: D102
    @property
    def high(self) -> float: ...  # noqa: D102
    @property
    def cosine(self) -> float: ...  # noqa: D102


class LeftOut(NamedTuple):
    """A pair that is not learned.

    Attributes:
        told: The instruction.
        prompt: What was asked last.
        original: What the model answered.
        revision: The last revision that was tried; empty where there was none.
        reason: Why not.
    """

    told: str
    prompt: str
    original: str
    revision: str
    reason: str


UNNAMED = "the answer does not name what to avoid"
NAMED = "the revision still names it"
EMPTY = "there is no revision"
COPY = "the revision is a copy"
UNLIKE = "the revision is another text"
FAR = "the revision has other words"
LENGTH = "the revision is under half or over twice as long"
AGAIN = "the pair came before"
REASONS = (UNNAMED, EMPTY, NAMED, COPY, LENGTH, UNLIKE, FAR, AGAIN)
_NAME = "x"


def edit_similarity(one: Sequence[str], other: Sequence[str]) -> float:
    """1 less the edits (insert, delete, replace a word) from one to the other, over the longer's words.

    Returns:
        From 0 to 1; 1 for two of no words.
    """
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(other, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    longest = max(len(one), len(other))
    return 1 - row[-1] / longest if longest else 1.0


def cosine(one: Sequence[str], other: Sequence[str]) -> float:
    """Cosine of the angle between the counts of their words; 0 where one has none."""
    a, b = Counter(one), Counter(other)
    size = math.sqrt(sum(n * n for n in a.values()) * sum(n * n for n in b.values()))
    return sum(n * b[word] for word, n in a.items()) / size if size else 0.0


def why_not(original: str, revision: str, avoid: Avoid, limits: Limits) -> str:
    """The first reason against a pair; empty where it is to be learned.

    Edit similarity, cosine and length are of words, which needs no second model. A name counts as one word,
    and the two elephants' as the same one, so that "tea." is near to "coffee.", its least revision.

    Args:
        original: Should name what to avoid.
        revision: Should not, and say nearly the same.
        avoid: Has the names.
        limits: The thresholds.
    """
    if not avoid.named(original)[1]:
        return UNNAMED
    if not words(revision):
        return EMPTY
    if avoid.named(revision)[1]:
        return NAMED
    if edit_similarity(words(original), words(revision)) > limits.high:
        return COPY
    one, other = nameless(original, avoid), nameless(revision, avoid)
    if not 0.5 <= len(other) / len(one) <= 2:
        return LENGTH
    if edit_similarity(one, other) < limits.low:
        return UNLIKE
    return FAR if cosine(one, other) < limits.cosine else ""


def nameless(text: str, avoid: Avoid) -> list[str]:
    """The words of a text, one and the same for every name."""
    return words(_replaced(text, avoid, lambda _: _NAME))


def swapped(text: str, avoid: Avoid) -> str:
    """The text with what to speak of in the place of what to avoid; a capital stays one.

    Returns:
        Nothing where the text names both: to put one for the other would make it contradict itself.
    """
    if avoid.named(text) != (False, True):
        return ""
    name = avoid.instead

    def put(old: str) -> str:
        capital = old[:1].isupper() and avoid.avoid[:1].islower()
        return name[:1].upper() + name[1:] if capital else name

    return _replaced(text, avoid, put)


def _replaced(text: str, avoid: Avoid, put: Callable[[str], str]) -> str:
    """The text with something else in the place of each name."""
    mentions = avoid.mentions
    pieces, done = [], 0
    for start, end, _ in spans(text, (mentions.claim, mentions.against)):
        pieces += [text[done:start], put(text[start:end])]
        done = end
    return "".join([*pieces, text[done:]])
