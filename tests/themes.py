"""A corpus whose topics are known: each document is about one of three themes, in its words."""

from __future__ import annotations

import random

from dipole.corpora.corpus import Document

THEMES = {
    "crime": ["murder", "clue", "inspector", "detective", "victim", "alibi", "thief", "police"],
    "sea": ["ship", "sailor", "captain", "wave", "harbour", "storm", "anchor", "deck"],
    "garden": ["rose", "tulip", "gardener", "soil", "spade", "hedge", "apple", "lawn"],
}


def documents(n: int = 60, words: int = 20, seed: int = 0) -> list[Document]:
    """Document i is about theme i modulo 3."""
    rng, names = random.Random(seed), list(THEMES)
    return [
        Document(f"{names[i % 3]}-{i}", "The " + " ".join(rng.choices(THEMES[names[i % 3]], k=words)) + ".")
        for i in range(n)
    ]
