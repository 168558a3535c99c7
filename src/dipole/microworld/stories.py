"""Stories in eight genres, their titles, and the patterns that read their sentences back."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import NamedTuple

from dipole.microworld._plots import CRIME_WORDS, GENRES, LEXICON, Stage

DETECTIVE_STEPS = ("mystery", "clues", "questions", "deduction", "reveal")
"""The abstract structure of a detective plot, in its order."""

_SLOT = re.compile(r"\{([a-z]+)(\d?)(:C)?\}")
_CRIME = re.compile(r"\b(" + "|".join(CRIME_WORDS) + r")\b", re.IGNORECASE)
ANY_HEADING = "Here is a story."
TITLES: dict[str, str] = {
    "detective": "The case of {thing}",
    "news": "News from {town}",
    "gangster": "The gang of {boy}",
    "romance": "{girl} and {boy} in love",
    "adventure": "The journey to {land}",
    "fairy tale": "The tale of {beast}",
    "sea tale": "The voyage of {ship}",
    "school story": "{girl} and the class of {subject}",
}


@dataclass(frozen=True)
class Story:
    """A story and its truth."""

    sentences: tuple[str, ...]
    genre: str
    detective_plot: bool
    crime_words: bool

    @property
    def text(self) -> str:
        """The story as one paragraph."""
        return " ".join(self.sentences)


def genre_name(genre: str) -> str:
    """What a story of that genre is called, with its article, e.g. "a detective story"."""
    named = {"detective": "detective story", "news": "news item", "gangster": "gangster story"}.get(
        genre, genre
    )
    return ("an " if named[0] in "aeiou" else "a ") + named


def has_crime_words(text: str) -> bool:
    """Whether a word such as murder, thief or police occurs."""
    return _CRIME.search(text) is not None


class Cast:
    """The fillings of a story's slots, drawn when first needed and kept for the rest of the story."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.chosen: dict[str, str] = {}

    def fill(self, template: str) -> str:
        """The template with its slots filled; the first letter is a capital."""
        text = _SLOT.sub(self._draw, template)
        return text[0].upper() + text[1:]

    def _draw(self, match: re.Match[str]) -> str:
        name, digit, capital = match.groups()
        if name + digit not in self.chosen:
            taken = set(self.chosen.values())
            self.chosen[name + digit] = self.rng.choice([w for w in LEXICON[name] if w not in taken])
        value = self.chosen[name + digit]
        return value[0].upper() + value[1:] if capital else value


def write_story(rng: random.Random, genre: str | None = None, crime: bool | None = None) -> Story:
    """A story; of the given genre, or detective half of the time; `crime` picks its words."""
    if genre is None:
        genre = "detective" if rng.random() < 0.5 else rng.choice([g for g in GENRES if g != "detective"])
    plots = GENRES[genre]
    plot = rng.choice(plots) if crime is None or len(plots) == 1 else plots[int(crime)]
    cast, sentences = Cast(rng), []
    for name, templates in plot:
        if name.endswith("?") and rng.random() < 0.5:
            continue
        sentences.append(cast.fill(rng.choice(templates)))
    return Story(tuple(sentences), genre, genre == "detective", has_crime_words(" ".join(sentences)))


def opening(rng: random.Random, genre: str) -> str:
    """The first sentence of a story of that genre."""
    stage: Stage = rng.choice(GENRES[genre])[0]
    return Cast(rng).fill(rng.choice(stage[1]))


def title(rng: random.Random, genre: str) -> str:
    """A title for a story of that genre."""
    return Cast(rng).fill(TITLES[genre])


def heading(rng: random.Random, genre: str) -> str:
    """A first line for a story: neutral, or one that tells the genre."""
    if rng.random() < 0.5:
        return ANY_HEADING
    return f"Here is {genre_name(genre)}."


def _pattern(template: str) -> re.Pattern[str]:
    seen: set[str] = set()
    pieces, end = [], 0
    for match in _SLOT.finditer(template):
        pieces.append(re.escape(template[end : match.start()]))
        end = match.end()
        name, digit, _ = match.groups()
        key = name + digit
        at_start = match.start() == 0
        # a capital is right at the start of the sentence only
        words = [w[0].upper() + w[1:] if at_start else w for w in LEXICON[name]]
        pieces.append(f"(?P={key})" if key in seen else f"(?P<{key}>{'|'.join(map(re.escape, words))})")
        seen.add(key)
    return re.compile("".join(pieces) + re.escape(template[end:]))


class Step(NamedTuple):
    """What a sentence is in a story.

    Attributes:
        name: the stage of its plot ("plot" outside detective stories), end, title or heading.
        genre: whose it is; None for the heading of any story.
    """

    name: str
    genre: str | None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], Step], ...]:
    found = {
        (template, Step(name.rstrip("?"), genre))
        for genre, plots in GENRES.items()
        for plot in plots
        for name, templates in plot
        for template in templates
    }
    titles = {(template, Step("title", genre)) for genre, template in TITLES.items()}
    return tuple((_pattern(template), step) for template, step in sorted(found | titles))


@lru_cache(maxsize=65536)
def read_step(sentence: str) -> Step | None:
    """What a sentence is in a story, or None if no story can say it."""
    for pattern, step in _patterns():
        if pattern.fullmatch(sentence):
            return step
    if sentence == ANY_HEADING:
        return Step("heading", None)
    for genre in GENRES:
        if sentence == f"Here is {genre_name(genre)}.":
            return Step("heading", genre)
    return None
