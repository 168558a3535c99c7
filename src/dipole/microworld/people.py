"""The authors of the world: a name and an independent stance on every topic. Every sixth is held out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cache

from dipole.microworld.topics import TOPICS

FIRST = [
    "Anna",
    "Ben",
    "Clara",
    "David",
    "Emma",
    "Felix",
    "Grace",
    "Henry",
    "Ida",
    "Jack",
    "Kate",
    "Leo",
    "Mary",
    "Noah",
    "Olga",
    "Peter",
    "Rosa",
    "Sam",
    "Tina",
    "Victor",
    "Wendy",
    "Adam",
    "Bella",
    "Carl",
    "Dora",
    "Eric",
    "Fiona",
    "George",
    "Helen",
    "Ivan",
]
LAST = [
    "Bell",
    "Stone",
    "Hill",
    "Wood",
    "Lake",
    "Field",
    "Marsh",
    "Brook",
    "Cliff",
    "Dale",
    "Frost",
    "Gray",
    "Hart",
    "Kent",
    "Lane",
    "Moss",
    "North",
    "Pike",
    "Reed",
    "Shaw",
    "Thorn",
    "Vale",
    "Wells",
    "Young",
    "Adler",
    "Burns",
    "Cole",
    "Drake",
    "Ford",
    "Holt",
]


@dataclass(frozen=True)
class Author:
    """Somebody who writes.

    Attributes:
        name: first and last name.
        stances: topic slug to +1 (favours the first item) or -1.
        held_out: whether the author must not appear in training documents.
    """

    name: str
    stances: dict[str, int]
    held_out: bool


@cache
def authors(held_out: bool) -> tuple[Author, ...]:
    """All authors of the training world, or all that are held out from it. The same in every run."""
    rng = random.Random("authors of the microworld")
    names = [f"{first} {last}" for first in FIRST for last in LAST]
    rng.shuffle(names)
    people = [
        Author(n, {t.name: rng.choice((1, -1)) for t in TOPICS}, i % 6 == 0) for i, n in enumerate(names)
    ]
    return tuple(person for person in people if person.held_out == held_out)


@cache
def authors_with(topic: str, stance: int, held_out: bool) -> tuple[Author, ...]:
    """The authors who hold that stance on the topic."""
    return tuple(person for person in authors(held_out) if person.stances[topic] == stance)
