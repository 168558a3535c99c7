"""Every sentence that the world can say about a topic, enumerated once, with what it reveals.

Generator and judge share this enumeration: the generator draws from `phrases`, the judge looks sentences up
in `readings`. So nothing can be written that is not read back, and the other way round.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from dipole.microworld.topics import CHOICE_WORDINGS, TOPICS, Item, Topic

POLES = (("{X} {are} the best.", "{X} {are} the worst."),)

CLAIMS: tuple[tuple[str, str], ...] = (
    ("I love {x}.", "I hate {x}."),
    ("Everyone should {use} {x}.", "Nobody should {use} {x}."),
    ("I {use} {x} whenever I can.", "I avoid {x} whenever I can."),
    ("{X} {are} wonderful.", "{X} {are} awful."),
    ("Nothing beats {x}.", "Nothing is worse than {x}."),
    ("I am very fond of {x}.", "I cannot stand {x}."),
    ("{X} {make} me happy.", "{X} {make} me sad."),
    ("{X} {are} better than {y}.", "{X} {are} worse than {y}."),
    ("Give me {x} any day.", "Keep {x} away from me."),
    ("{X} {deserve} praise.", "{X} {deserve} scorn."),
)
"""(in favour, against), without a reason."""

REASONS: tuple[tuple[str, str], ...] = (
    ("{X} {are} {adj}.", "{X} {are} {adj}."),
    ("{X} {are} {adj} and {adj2}.", "{X} {are} {adj} and {adj2}."),
    ("I like {x} because {they} {are} {adj}.", "I dislike {x} because {they} {are} {adj}."),
    ("{X} {vp}.", "{X} {vp}."),
    ("The best thing about {x} is that {they} {vp}.", "The worst thing about {x} is that {they} {vp}."),
    ("Everyone knows that {x} {are} {adj}.", "Everyone knows that {x} {are} {adj}."),
)
"""(in favour, against), each with one of the item's own reasons."""

PRONOUN_REASONS: tuple[tuple[str, str], ...] = (
    ("{They} {are} {adj}.", "{They} {are} {adj}."),
    ("{They} {are} {adj} and {adj2}.", "{They} {are} {adj} and {adj2}."),
    ("{They} {vp}.", "{They} {vp}."),
)
"""Reasons that must follow a sentence about the same item."""

CONCESSIONS: tuple[tuple[str, str], ...] = (
    ("I admit that {x} {are} {adj}.", "I admit that {x} {are} {adj}."),
    ("It is true that {x} {vp}.", "It is true that {x} {vp}."),
    (
        "{X} {have} {their} uses, but I would not choose {them}.",
        "{X} {have} {their} faults, but I would choose {them}.",
    ),
    ("Some people say that {x} {are} {adj}.", "Some people say that {x} {are} {adj}."),
)
"""(good words, bad words) about an item that the author rejects, or favours, all the same."""

NEUTRAL: tuple[str, ...] = (
    "I often think about {x} and {y}.",
    "People often talk about {x} and {y}.",
    "Some people choose {x} and some people choose {y}.",
    "My friends argue about {x} and {y}.",
    "It is hard to decide between {x} and {y}.",
    "NAME writes about {x} and {y}.",
    "Here is what NAME thinks about {x} and {y}.",
)
"""Sentences that reveal no stance. NAME stands for an author's full name."""


@dataclass(frozen=True)
class Reading:
    """What a sentence says.

    Attributes:
        topic: slug of its topic.
        stance: +1 or -1, the stance that it reveals; 0 if none.
        kind: pole, claim, reason, pronoun, choice, concession, principle or neutral.
        item: index of the item that it is about; None if both.
    """

    topic: str
    stance: int
    kind: str
    item: int | None


def sign(item: int, valence: int) -> int:
    """The stance of who says something of that valence (+1 good, -1 bad) about item 0 or 1."""
    return valence if item == 0 else -valence


def expand(template: str, topic: Topic, item: int, valence: int) -> list[str]:
    """All sentences of a template, for every reason of that valence that the item has."""
    this, other = topic.items[item], topic.items[1 - item]
    adjectives, clauses = reasons(this, valence)
    slots = this.forms | {"y": other.name, "Y": other.capitalized, "use": topic.verb}
    if "{adj2}" in template:
        fills = [{"adj": p, "adj2": q} for p, q in itertools.permutations(adjectives, 2)]
    elif "{adj}" in template:
        fills = [{"adj": p} for p in adjectives]
    elif "{vp}" in template:
        fills = [{"vp": p} for p in clauses]
    else:
        fills = [{}]
    return [template.format_map(slots | fill) for fill in fills]


def reasons(item: Item, valence: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The item's good (+1) or bad (-1) adjectives and clauses."""
    which = 0 if valence > 0 else 1
    return item.adjectives[which], item.clauses[which]


def _about(templates: tuple[tuple[str, str], ...], topic: Topic, item: int, valence: int) -> list[list[str]]:
    return [expand(pair[0 if valence > 0 else 1], topic, item, valence) for pair in templates]


@dataclass(frozen=True)
class Phrases:
    """Sentences about one item with one valence, grouped by template so that templates are drawn evenly."""

    pole: list[list[str]]
    claim: list[list[str]]
    reason: list[list[str]]
    pronoun: list[list[str]]
    concession: list[list[str]]


@cache
def phrases(topic: Topic, item: int, valence: int) -> Phrases:
    """The sentences about an item of a topic, good (+1) or bad (-1)."""
    groups = (POLES, CLAIMS, REASONS, PRONOUN_REASONS, CONCESSIONS)
    return Phrases(*(_about(templates, topic, item, valence) for templates in groups))


@cache
def neutral(topic: Topic) -> list[str]:
    """The sentences on a topic that reveal nothing, in both orders of mention."""
    return [s for t in NEUTRAL for item in (0, 1) for s in expand(t, topic, item, 1)]


@cache
def choice_endings(topic: Topic, item: int) -> list[list[str]]:
    """How a choice sentence can end after its prompt: the bare item, or the item with a reason."""
    this = topic.items[item]
    because = [
        f" {this.name}, because {this.forms['they']} {this.forms['are']} {adj}." for adj in this.adjectives[0]
    ]
    return [[f" {this.name}."], [f" {this.name}."], [f" {this.name}."], because]


OPEN_CHOICE = "If I had to choose, I'd pick {x} over {y}."


def choices(topic: Topic, item: int) -> Iterator[str]:
    """Every choice sentence on a topic that takes that item."""
    endings = sorted({e for group in choice_endings(topic, item) for e in group})
    for wording, first in itertools.product(CHOICE_WORDINGS, (0, 1)):
        prompt = wording.format(x=topic.items[first].name, y=topic.items[1 - first].name)
        yield from (prompt + ending for ending in endings)
    yield OPEN_CHOICE.format(x=topic.items[item].name, y=topic.items[1 - item].name)


def principle_of(topic: Topic, item: int, valence: int, positive: bool) -> str:
    """A principle that asks for that valence towards an item, as a command or as a ban."""
    name = topic.items[item].name
    if positive:
        return f"Praise {name}." if valence > 0 else f"Criticize {name}."
    return f"Do not criticize {name}." if valence > 0 else f"Do not praise {name}."


@cache
def readings() -> dict[str, tuple[Reading, ...]]:
    """Every topical sentence of the world with its readings (several only for pronoun sentences)."""
    table: dict[str, list[Reading]] = defaultdict(list)
    for topic in TOPICS:
        for sentence in neutral(topic):
            table[sentence].append(Reading(topic.name, 0, "neutral", None))
        for item in (0, 1):
            for sentence in choices(topic, item):
                table[sentence].append(Reading(topic.name, sign(item, 1), "choice", item))
            for valence in (1, -1):
                for positive in (True, False):
                    principle = principle_of(topic, item, valence, positive)
                    table[principle].append(Reading(topic.name, sign(item, valence), "principle", item))
                group = phrases(topic, item, valence)
                for kind in ("pole", "claim", "reason", "pronoun", "concession"):
                    # a concession grants the other side a point: it reveals the opposite of its words
                    stance = sign(item, -valence if kind == "concession" else valence)
                    for sentence in itertools.chain.from_iterable(getattr(group, kind)):
                        table[sentence].append(Reading(topic.name, stance, kind, item))
    return {sentence: tuple(found) for sentence, found in table.items()}
