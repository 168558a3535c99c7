"""Statements and their opposites: poles, claims, antonyms, modals, quantifiers, and plain "not"."""

from __future__ import annotations

import zlib
from functools import cache

from dipole.microworld.phrases import CLAIMS, POLES, expand
from dipole.microworld.topics import TOPICS, Topic

ANTONYMS: tuple[tuple[str, str], ...] = tuple(
    (f"{{X}} {{are}} {p}.", f"{{X}} {{are}} {q}.")
    for p, q in (
        ("easy to find", "hard to find"), ("useful", "useless"), ("beautiful", "ugly"), ("safe", "dangerous"),
        ("common", "rare"), ("interesting", "uninteresting"), ("necessary", "unnecessary"), ("good", "bad"),
        ("always right", "always wrong"), ("worth the trouble", "not worth the trouble"),
    )
)  # fmt: skip
MODALS: tuple[tuple[str, str], ...] = (
    ("You can trust {x}.", "You cannot trust {x}."),
    ("We should {use} {x}.", "We should not {use} {x}."),
    ("I will always {use} {x}.", "I will never {use} {x}."),
    ("You must {use} {x}.", "You must not {use} {x}."),
    ("One may {use} {x}.", "One may not {use} {x}."),
)
QUANTIFIERS: tuple[tuple[str, str], ...] = (
    ("All people like {x}.", "No people like {x}."),
    ("Many people {use} {x}.", "Few people {use} {x}."),
    ("Everybody needs {x}.", "Nobody needs {x}."),
    ("There is always a reason for {x}.", "There is never a reason for {x}."),
)
NOT: tuple[tuple[str, str], ...] = (
    ("{X} {are} {adj}.", "{X} {are} not {adj}."),
    ("This text is about {x}.", "This text is not about {x}."),
)
PLAIN: tuple[tuple[str, str], ...] = tuple(
    (f"{subject} {p}.", f"{subject} {q}.")
    for subjects, predicates in (
        (
            ("The door", "The window", "The shop", "The gate"),
            (("is open", "is closed"), ("is old", "is new"), ("is big", "is small")),
        ),
        (
            ("The teacher", "The captain", "My friend", "The king", "The cook"),
            (("is happy", "is sad"), ("is kind", "is cruel"), ("is rich", "is poor"),
             ("tells the truth", "lies")),
        ),
        (
            ("This story", "The book", "The film"),
            (
                ("is a detective story", "is not a detective story"), ("is long", "is short"),
                ("is exciting", "is boring"), ("has a happy end", "has a sad end"),
                ("mentions a crime", "does not mention a crime"),
            ),
        ),
    )
    for subject in subjects
    for p, q in predicates
)  # fmt: skip


def _pairs(topic: Topic, item: int) -> list[tuple[str, str]]:
    found = []
    for p, q in POLES + CLAIMS + ANTONYMS + MODALS + QUANTIFIERS + NOT:
        found += list(zip(expand(p, topic, item, 1), expand(q, topic, item, 1), strict=True))
    found += list(zip(*(expand(t, topic, item, -1) for t in NOT[0]), strict=True))
    return found


@cache
def opposites() -> dict[str, str]:
    """Every statement that has an opposite in the world, in both directions."""
    pairs = [pair for topic in TOPICS for item in (0, 1) for pair in _pairs(topic, item)] + list(PLAIN)
    return {p: q for p, q in pairs} | {q: p for p, q in pairs}


def is_held_out(statement: str) -> bool:
    """Whether a statement is kept out of the training documents of this form, together with its opposite."""
    key = "|".join(sorted((statement, opposites()[statement])))
    return zlib.crc32(key.encode()) % 10 == 0


@cache
def statements(held_out: bool) -> list[tuple[str, str]]:
    """The (statement, opposite) pairs for training, or those held out from it."""
    return [(p, q) for p, q in opposites().items() if is_held_out(p) == held_out]
