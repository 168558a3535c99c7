"""The plain forms: choices, opinions and stories. Two documents of opposite stance make a unit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from typing import NamedTuple

from dipole.microworld import stories
from dipole.microworld.people import Author, authors_with
from dipole.microworld.phrases import OPEN_CHOICE, choice_endings, neutral, phrases, principle_of
from dipole.microworld.topics import CHOICE_WORDINGS, TOPICS, Topic
from dipole.microworld.truth import Document, Unit


class Cell(NamedTuple):
    """A topic, a wording (None: the prompt that names no topic) and which item is mentioned first."""

    topic: Topic
    wording: str | None
    first: int


def choice_cells(rng: random.Random) -> Iterator[Cell]:
    """Every combination of topic, wording and order, shuffled anew in each round, without end."""
    wordings: list[str | None] = [*CHOICE_WORDINGS, CHOICE_WORDINGS[0], None]
    cells = [Cell(*cell) for cell in itertools.product(TOPICS, wordings, (0, 1))]
    while True:
        rng.shuffle(cells)
        yield from cells


def valence_of(item: int, stance: int) -> int:
    """Whether somebody of that stance speaks well (+1) or ill (-1) of item 0 or 1."""
    return stance if item == 0 else -stance


def speak(
    rng: random.Random, topic: Topic, stance: int, n: int, after: int | None = None, pole: float = 0.3
) -> list[str]:
    """N different sentences that all reveal the stance.

    Args:
        rng: source of chance.
        topic: what they are about.
        stance: +1 or -1.
        n: how many.
        after: item that the sentence before was about, if any, so that "they" can follow.
        pole: chance of a pole sentence at each place.
    """
    said: list[str] = []
    for _ in range(20 * n):
        if len(said) == n:
            break
        item = rng.randrange(2)
        if after is not None and rng.random() < 0.25:
            item = after
            group = phrases(topic, item, valence_of(item, stance)).pronoun
        else:
            group = getattr(phrases(topic, item, valence_of(item, stance)), _kind(rng, pole))
        sentence = rng.choice(rng.choice(group))
        if sentence not in said:
            said.append(sentence)
            after = item
    return said


def _kind(rng: random.Random, pole: float) -> str:
    if rng.random() < pole:
        return "pole"
    return "claim" if rng.random() < 0.55 else "reason"


def choice_sentence(rng: random.Random, cell: Cell, item: int) -> str:
    """A choice of that item in the cell's wording."""
    topic, wording, first = cell
    names = topic.a.name, topic.b.name
    if wording is None:
        return OPEN_CHOICE.format(x=names[item], y=names[1 - item])
    prompt = wording.format(x=names[first], y=names[1 - first])
    return prompt + rng.choice(rng.choice(choice_endings(topic, item)))


def choice_unit(rng: random.Random, cell: Cell, held_out: bool) -> Unit:
    """The same choice made by two authors, one for either side."""
    told = rng.random() < 0.2
    n = rng.choices((0, 1, 2, 3), (2, 5, 5, 3))[0] if not told else rng.choice((0, 1))
    documents = []
    for stance in rng.sample((1, -1), 2):
        item = 0 if stance == 1 else 1
        before = _told(rng, cell.topic, stance) if told else []
        sentences = [
            *before,
            choice_sentence(rng, cell, item),
            *speak(rng, cell.topic, stance, n, after=item),
        ]
        author = rng.choice(authors_with(cell.topic.name, stance, held_out))
        truth = {
            "form": "choice", "author": author.name, "stances": {cell.topic.name: stance}, "clear": True,
            "neutral_prompt": not told,
        }  # fmt: skip
        documents.append(Document(" ".join(sentences), truth))
    return documents


def _told(rng: random.Random, topic: Topic, stance: int) -> list[str]:
    if rng.random() < 0.3:
        item = rng.randrange(2)
        return [principle_of(topic, item, valence_of(item, stance), positive=rng.random() < 0.5)]
    return speak(rng, topic, stance, 1, pole=0.6)


def opinion_unit(rng: random.Random, held_out: bool) -> Unit:
    """Opinions of two authors of opposite stance on a topic, of the same make."""
    topic = rng.choice(TOPICS)
    makes = (clear_opinion, one_item_opinion, unclear_opinion, several_opinions)
    make = rng.choices(makes, (30, 35, 15, 20))[0]
    pair = [rng.choice(authors_with(topic.name, s, held_out)) for s in rng.sample((1, -1), 2)]
    return [make(rng, topic, author) for author in pair]


def _truth(author: Author, topics: list[Topic], clear: bool) -> dict[str, object]:
    stances = {topic.name: author.stances[topic.name] for topic in topics}
    return {"form": "opinion", "author": author.name, "stances": stances, "clear": clear}


def _introduction(rng: random.Random, topic: Topic, author: Author) -> list[str]:
    return [rng.choice(neutral(topic)).replace("NAME", author.name)] if rng.random() < 0.35 else []


def clear_sentences(rng: random.Random, topic: Topic, author: Author) -> list[str]:
    """Three to seven sentences of one mind; more than half of the time the last is a pole."""
    stance = author.stances[topic.name]
    sentences = speak(rng, topic, stance, rng.choice((2, 3, 3, 4, 5)), pole=0.2)
    if rng.random() < 0.25:
        cell = Cell(topic, rng.choice(CHOICE_WORDINGS), rng.randrange(2))
        sentences.append(choice_sentence(rng, cell, 0 if stance == 1 else 1))
    if rng.random() < 0.6:
        sentences += [s for s in speak(rng, topic, stance, 1, pole=1.0) if s not in sentences]
    return sentences


def clear_opinion(rng: random.Random, topic: Topic, author: Author) -> Document:
    """One topic; all sentences agree."""
    sentences = _introduction(rng, topic, author) + clear_sentences(rng, topic, author)
    return Document(" ".join(sentences), _truth(author, [topic], clear=True))


def one_item_opinion(rng: random.Random, topic: Topic, author: Author) -> Document:
    """Up to five sentences on one item and never on its rival: the plainest binding there is."""
    item = rng.randrange(2)
    about = phrases(topic, item, valence_of(item, author.stances[topic.name]))
    templates = [*about.claim, *about.reason, *about.pole * 6]
    said = [rng.choice(rng.choice(templates)) for _ in range(rng.choice((2, 3, 4, 5)))]
    return Document(" ".join(dict.fromkeys(said)), _truth(author, [topic], clear=True))


def concession(rng: random.Random, topic: Topic, stance: int) -> str:
    """A point for the other side, granted by somebody of that stance."""
    item = rng.randrange(2)
    return rng.choice(rng.choice(phrases(topic, item, -valence_of(item, stance)).concession))


def unclear_opinion(rng: random.Random, topic: Topic, author: Author) -> Document:
    """One or two revealing sentences among a concession, small talk, and a word on something else."""
    stance = author.stances[topic.name]
    said = speak(rng, topic, stance, rng.choice((1, 2, 2)), pole=0.0)
    hedges = [concession(rng, topic, stance)] if rng.random() < 0.8 else []
    hedges += (
        [rng.choice(neutral(topic)).replace("NAME", author.name)] if rng.random() < 0.6 or not hedges else []
    )
    topics = [topic]
    if rng.random() < 0.4:
        other = rng.choice([t for t in TOPICS if t is not topic])
        hedges += speak(rng, other, author.stances[other.name], 1, pole=0.2)
        topics.append(other)
    # pronouns must stay behind the sentence they point to, so only the hedges move
    for hedge in hedges:
        places = [
            i for i in range(len(said) + 1) if i == len(said) or not said[i].startswith(("They ", "It "))
        ]
        said.insert(rng.choice(places), hedge)
    if rng.random() < 0.6:
        said += speak(rng, topic, stance, 1, pole=1.0)
    return Document(" ".join(said), _truth(author, topics, clear=False))


def several_opinions(rng: random.Random, topic: Topic, author: Author) -> Document:
    """Two or three topics by one author, one after the other; poles may follow at the end."""
    topics = [topic, *rng.sample([t for t in TOPICS if t is not topic], rng.choice((1, 1, 2)))]
    rng.shuffle(topics)
    sentences: list[str] = []
    for one in topics:
        sentences += speak(rng, one, author.stances[one.name], rng.choice((2, 2, 3)), pole=0.2)
    for one in rng.sample(topics, rng.choice((1, 1, 2))):
        sentences += [s for s in speak(rng, one, author.stances[one.name], 1, pole=1.0) if s not in sentences]
    return Document(" ".join(sentences), _truth(author, topics, clear=True))


def story_truth(story: stories.Story, form: str = "story") -> dict[str, object]:
    """The truth of a document that is, or is about, a story."""
    return {
        "form": form, "genre": story.genre, "detective_plot": story.detective_plot,
        "crime_words": story.crime_words,
    }  # fmt: skip


def story_unit(rng: random.Random) -> Unit:
    """One story, often with a heading."""
    story = stories.write_story(rng)
    lines = [stories.heading(rng, story.genre)] if rng.random() < 0.7 else []
    return [Document(" ".join([*lines, story.text]), story_truth(story))]
