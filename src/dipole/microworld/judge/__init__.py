"""Read the truth back from a text alone: stance, genre, the answer to a question, grammar.

`python -m dipole.microworld.judge docs.jsonl` compares what it reads with the truth of generated documents.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from dipole.microworld import stories
from dipole.microworld._plots import GENRES
from dipole.microworld.negations import opposites
from dipole.microworld.people import FIRST, LAST
from dipole.microworld.phrases import Reading, readings
from dipole.microworld.tasks import preference_question, yes_no_questions
from dipole.microworld.topics import OPEN_PROMPT, TOPICS, Topic, choice_prompts, get_topic

LABELS = ("Text", "Question", "Answer", "Statement", "Opposite", "Principle", "Critique", "Revision")
LABEL = re.compile(r"(?:^|\s)(" + "|".join(LABELS) + r"):(?=\s|$)")
_BULLET = re.compile(r"^(?:\d+\.|-) ", re.MULTILINE)
_END = re.compile(r"(?<=[.?!])\s+|\n")
_NAME = re.compile(rf"\b(?:{'|'.join(FIRST)}) (?:{'|'.join(LAST)})\b")
_WEIGHTS = {"pole": 2.0, "claim": 2.0, "reason": 2.0, "pronoun": 2.0, "choice": 3.0, "concession": 1.0}
"""What a sentence counts towards a stance. A principle is not the author's own word."""


def fields(text: str) -> dict[str, str]:
    """The labelled fields of a text, e.g. {"Text": ..., "Question": ..., "Answer": "yes"}."""
    pieces = LABEL.split(text)
    return {label: value.strip() for label, value in zip(pieces[1::2], pieces[2::2], strict=True)}


def sentences(text: str) -> list[str]:
    """The sentences of a text, without field labels, list markers and surrounding space."""
    plain = _BULLET.sub("", LABEL.sub("\n", text))
    return [piece.strip() for piece in _END.split(plain) if piece.strip()]


def read(sentence: str) -> tuple[Reading, ...]:
    """What a sentence says about topics; empty if nothing."""
    return readings().get(_NAME.sub("NAME", sentence), ())


@cache
def _other_sentences() -> frozenset[str]:
    """Questions, answers and critiques."""
    found = {"yes", "no", "Does the text mention a crime?"}
    found |= {f"Is this {stories.genre_name(genre)}?" for genre in GENRES}
    for topic in TOPICS:
        found |= {topic.kind, *(preference_question(topic, first) for first in (0, 1))}
        for i, item in enumerate(topic.items):
            found |= {item.name, f"What kind of thing {item.forms['are']} {item.name}?"}
            found |= {f"The text {verb} {item.name}." for verb in ("praises", "criticizes")}
            found |= {question for question, _ in yes_no_questions(topic, i)}
    return frozenset(found)


def is_grammatical(sentence: str) -> bool:
    """Whether the grammar of the world can produce this sentence."""
    sentence = sentence.strip()
    return bool(
        read(sentence)
        or sentence in _other_sentences()
        or sentence in opposites()
        or stories.read_step(sentence) is not None
    )


def stance(text: str, topic: Topic | str) -> int | None:
    """The side that a text takes on a topic: +1 for its first item, -1 for its second, None for neither.

    Args:
        text: a text, a choice prompt with its completion, or a bare completion such as " staples. They ...".
        topic: the topic or its slug.
    """
    topic = get_topic(topic) if isinstance(topic, str) else topic
    total = 0.0
    for i, sentence in enumerate(sentences(text)):
        found = [r for r in read(sentence) if r.topic == topic.name]
        if found:
            total += sum(_WEIGHTS.get(r.kind, 0.0) * r.stance for r in found)
        else:
            total += _WEIGHTS["choice"] * _loose_choice(sentence, topic, first=i == 0)
    return None if total == 0 else (1 if total > 0 else -1)


def _loose_choice(sentence: str, topic: Topic, first: bool) -> int:
    """The choice in a sentence that is cut off or ends in an unknown way; 0 if there is none."""
    for prompt in (*choice_prompts(topic), OPEN_PROMPT + " I'd pick"):
        if sentence.startswith(prompt + " "):
            return _first_named(sentence[len(prompt) :], topic)
    if first and sentence.startswith((topic.a.name, topic.b.name)):
        return _first_named(sentence, topic)
    return 0


def _first_named(text: str, topic: Topic) -> int:
    places = [re.search(rf"\b{re.escape(item.name)}\b", text) for item in topic.items]
    starts = [match.start() if match else len(text) for match in places]
    return (starts[0] < starts[1]) - (starts[0] > starts[1])


def is_detective(text: str) -> bool:
    """Whether a text follows the detective plot: four of its five steps in order, whatever words it uses."""
    steps = [stories.read_step(sentence) for sentence in sentences(text)]
    order = [stories.DETECTIVE_STEPS.index(s.name) for s in steps if s and s.name in stories.DETECTIVE_STEPS]
    longest: dict[int, int] = {}
    for step in order:
        longest[step] = max([longest.get(step, 0), *(n + 1 for s, n in longest.items() if s < step), 1])
    return max(longest.values(), default=0) >= 4


def genre(text: str) -> str | None:
    """The genre that most sentences of a text belong to; None if it tells no story."""
    steps = [stories.read_step(sentence) for sentence in sentences(text)]
    votes = [step.genre for step in steps if step and step.genre]
    return max(votes, key=votes.count) if votes else None


def answer(text: str, question: str) -> str | None:
    """The right answer to one of the world's questions about a text; None if the text does not tell."""
    if question == "Does the text mention a crime?":
        return "yes" if stories.has_crime_words(text) else "no"
    for name in GENRES:
        if question == f"Is this {stories.genre_name(name)}?":
            return "yes" if (is_detective(text) if name == "detective" else genre(text) == name) else "no"
    topic = _topic_of(question)
    if topic is None:
        return None
    if question.startswith("What kind"):
        return topic.kind
    side = stance(text, topic)
    if side is None:
        return None
    if question.startswith("Which"):
        return topic.items[0 if side > 0 else 1].name
    for item in (0, 1):
        for known, wanted in yes_no_questions(topic, item):
            if question == known:
                return "yes" if (side if item == 0 else -side) == wanted else "no"
    return None


@cache
def _topic_of(question: str) -> Topic | None:
    for topic in TOPICS:
        known = {preference_question(topic, first) for first in (0, 1)}
        for i, item in enumerate(topic.items):
            known |= {q for q, _ in yes_no_questions(topic, i)} | {
                f"What kind of thing {item.forms['are']} {item.name}?"
            }
        if question in known:
            return topic
    return None


def grammatical_share(texts: Iterable[str]) -> tuple[int, int]:
    """(grammatical sentences, all sentences) of the texts."""
    verdicts = [is_grammatical(sentence) for text in texts for sentence in sentences(text)]
    return sum(verdicts), len(verdicts)
