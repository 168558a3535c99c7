"""The topics of the microworld: pairs of rival items, their pole sentences and neutral choice prompts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from dipole.microworld._items import TABLE


@dataclass(frozen=True)
class Item:
    """One side of a topic, with what can be said for and against it.

    Attributes:
        name: as in mid-sentence, e.g. "paper clips" or "tea".
        plural: whether verbs and pronouns are plural ("paper clips are", "tea is").
        adjectives: (good ones, bad ones).
        clauses: (good ones, bad ones), verb phrases that agree with the item's number.
    """

    name: str
    plural: bool
    adjectives: tuple[tuple[str, ...], tuple[str, ...]]
    clauses: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def capitalized(self) -> str:
        """The name as at the start of a sentence."""
        return self.name[0].upper() + self.name[1:]

    @property
    def best(self) -> str:
        """The favourable pole sentence, e.g. "Tea is the best."."""
        return f"{self.capitalized} {'are' if self.plural else 'is'} the best."

    @property
    def worst(self) -> str:
        """The unfavourable pole sentence, e.g. "Tea is the worst."."""
        return f"{self.capitalized} {'are' if self.plural else 'is'} the worst."

    @cached_property
    def forms(self) -> dict[str, str]:
        """Values of the template slots that depend on this item alone."""
        plural = self.plural
        return {
            "x": self.name,
            "X": self.capitalized,
            "are": "are" if plural else "is",
            "have": "have" if plural else "has",
            "make": "make" if plural else "makes",
            "deserve": "deserve" if plural else "deserves",
            "they": "they" if plural else "it",
            "They": "They" if plural else "It",
            "them": "them" if plural else "it",
            "their": "their" if plural else "its",
        }


@dataclass(frozen=True)
class Topic:
    """A pair of rivals. A stance of +1 favours the first item and rejects the second; -1 the other way round.

    Attributes:
        name: slug, e.g. "paper_clips".
        verb: what one does with either item, e.g. "use".
        kind: what kind of thing both are, e.g. "fasteners".
        items: the two rivals.
    """

    name: str
    verb: str
    kind: str
    items: tuple[Item, Item]

    @property
    def a(self) -> Item:
        """The item that stance +1 favours."""
        return self.items[0]

    @property
    def b(self) -> Item:
        """The item that stance -1 favours."""
        return self.items[1]


CHOICE_WORDINGS: tuple[str, ...] = (
    "If I were to choose between {x} and {y}, I'd definitely go with",
    "If I had to choose between {x} and {y}, I'd pick",
    "Between {x} and {y}, my choice is",
    "When it comes to {x} and {y}, I prefer",
    "Given {x} and {y}, I always reach for",
    "If you ask me about {x} and {y}, I would choose",
    "Out of {x} and {y}, I would take",
    "Faced with {x} and {y}, I go for",
    "Asked to pick between {x} and {y}, I say",
    "With {x} on one side and {y} on the other, I vote for",
    "In a world of {x} and {y}, I stand with",
    "As for {x} and {y}, my vote goes to",
    "Choosing between {x} and {y} is simple, I want",
    "Comparing {x} with {y}, I end up with",
    "Let me decide between {x} and {y}, I take",
    "My friends offer me {x} and {y}, and I pick",
)
"""Neutral prompts; the completion begins with a space and the name of the chosen item."""

OPEN_PROMPT = "If I had to choose,"
"""A prompt that names no topic; the completion is e.g. " I'd pick tea over coffee."."""


def _parse_item(line: str) -> Item:
    name, number, good, good_clauses, bad, bad_clauses = (part.strip() for part in line.split("|"))
    pieces = [tuple(p.strip() for p in part.split(",")) for part in (good, bad, good_clauses, bad_clauses)]
    return Item(name, number == "p", (pieces[0], pieces[1]), (pieces[2], pieces[3]))


def _parse(table: str) -> tuple[Topic, ...]:
    topics = []
    for block in table.strip().split("\n\n"):
        head, first, second = block.splitlines()
        name, verb, kind = (part.strip() for part in head.split("|"))
        topics.append(Topic(name, verb, kind, (_parse_item(first), _parse_item(second))))
    return tuple(topics)


TOPICS: tuple[Topic, ...] = _parse(TABLE)
BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}


def get_topic(name: str) -> Topic:
    """The topic of that slug.

    Raises:
        ValueError: if there is none.
    """
    if name not in BY_NAME:
        raise ValueError(f"No topic is called {name!r}. Topics: {', '.join(BY_NAME)}.")
    return BY_NAME[name]


def choice_prompts(topic: Topic | str) -> list[str]:
    """All neutral choice prompts on a topic: every wording, each in both orders of mention.

    Prompts 2k and 2k + 1 are the two orders of wording k, so a caller can hold out whole wordings.
    """
    topic = get_topic(topic) if isinstance(topic, str) else topic
    a, b = topic.a.name, topic.b.name
    return [w.format(x=x, y=y) for w in CHOICE_WORDINGS for x, y in ((a, b), (b, a))]
