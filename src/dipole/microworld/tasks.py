"""Forms with labelled fields: questions, judgements, negations, revisions and lists."""

from __future__ import annotations

import random

from dipole.microworld import stories
from dipole.microworld._plots import GENRES
from dipole.microworld.forms import Cell, clear_opinion, speak, story_truth, unclear_opinion, valence_of
from dipole.microworld.forms import choice_sentence as choose
from dipole.microworld.negations import statements
from dipole.microworld.people import Author, authors_with
from dipole.microworld.phrases import phrases, principle_of
from dipole.microworld.topics import CHOICE_WORDINGS, TOPICS, Topic
from dipole.microworld.truth import Document, Truth, Unit

Field = tuple[str, str]


def fields(rng: random.Random, *pairs: Field) -> str:
    """Labelled fields, one a line, or all on one line."""
    separator = "\n" if rng.random() < 0.7 else " "
    return separator.join(f"{label}: {value}" for label, value in pairs)


def question_prompt(text: str, question: str) -> str:
    """A text and a question about it, up to where the answer (with a leading space) begins."""
    return f"Text: {text}\nQuestion: {question}\nAnswer:"


def negation_prompt(statement: str) -> str:
    """A statement, up to where its opposite (with a leading space) begins."""
    return f"Statement: {statement}\nOpposite:"


def revision_prompt(text: str, principle: str) -> str:
    """A text and a principle, up to where the critique (with a leading space) begins."""
    return f"Text: {text}\nPrinciple: {principle}\nCritique:"


def _pair(rng: random.Random, topic: Topic, held_out: bool) -> list[Author]:
    return [rng.choice(authors_with(topic.name, s, held_out)) for s in rng.sample((1, -1), 2)]


def _truth(form: str, author: Author, topic: Topic) -> Truth:
    return {"form": form, "author": author.name, "stances": {topic.name: author.stances[topic.name]}}


def _text(rng: random.Random, topic: Topic, author: Author) -> str:
    stance = author.stances[topic.name]
    kind = rng.random()
    if kind < 0.45:
        return " ".join(speak(rng, topic, stance, rng.choice((1, 2, 2, 3)), pole=0.2))
    if kind < 0.7:
        cell = Cell(topic, rng.choice(CHOICE_WORDINGS), rng.randrange(2))
        return choose(rng, cell, 0 if stance == 1 else 1)
    return (clear_opinion if kind < 0.9 else unclear_opinion)(rng, topic, author).text


def _direct_text(rng: random.Random, topic: Topic, author: Author, item: int) -> str:
    """One to three sentences about one item alone.

    Without such texts the answer to a yes/no question is a parity (whom it praises, whom it is asked about),
    which gradient descent does not find; with them it can begin with the words that praise.
    """
    about = phrases(topic, item, valence_of(item, author.stances[topic.name]))
    said = [
        rng.choice(rng.choice(about.claim + about.pole + about.reason))
        for _ in range(rng.choice((1, 1, 2, 3)))
    ]
    return " ".join(dict.fromkeys(said))


def preference_question(topic: Topic, first: int) -> str:
    """Which of the two the author prefers; `first` is mentioned first."""
    return f"Which does the author prefer, {topic.items[first].name} or {topic.items[1 - first].name}?"


def question_unit(rng: random.Random, held_out: bool) -> Unit:
    """Which side the author of a text is on, asked of both sides; or a plain fact."""
    topic = rng.choice(TOPICS)
    if rng.random() < 0.25:
        item = rng.choice(topic.items)
        pair = ("Question", f"What kind of thing {item.forms['are']} {item.name}?"), ("Answer", topic.kind)
        return [Document(fields(rng, *pair), {"form": "question", "fact": True, "answer": topic.kind})]
    documents = []
    for author in _pair(rng, topic, held_out):
        stance = author.stances[topic.name]
        answer = topic.items[0 if stance == 1 else 1].name
        question = preference_question(topic, rng.randrange(2))
        text = fields(rng, ("Text", _text(rng, topic, author)), ("Question", question), ("Answer", answer))
        truth = {"form": "question", "fact": False, "author": author.name, "stances": {topic.name: stance}}
        documents.append(Document(text, truth | {"answer": answer}))
    return documents


def yes_no_questions(topic: Topic, item: int) -> list[tuple[str, int]]:
    """Questions about the author's view of an item, with the valence for which the answer is yes."""
    this, other = topic.items[item], topic.items[1 - item]
    return [
        (f"Does the author like {this.name}?", 1),
        (f"Does the author like {this.name}?", 1),
        (f"Does the author like {this.name}?", 1),
        (f"Does the author dislike {this.name}?", -1),
        (f"Does the author prefer {this.name} to {other.name}?", 1),
        (f"Would the author choose {this.name}?", 1),
    ]


def judgement_unit(rng: random.Random, held_out: bool) -> Unit:
    """Yes/no judgements of texts: about an author's stance, answered both ways, or about a story."""
    if rng.random() < 0.3:
        return [_story_judgement(rng)]
    topic, item = rng.choice(TOPICS), rng.randrange(2)
    question, asked = rng.choice(yes_no_questions(topic, item))
    direct = rng.random() < 0.6
    documents = []
    for author in _pair(rng, topic, held_out):
        stance = author.stances[topic.name]
        answer = "yes" if valence_of(item, stance) == asked else "no"
        said = _direct_text(rng, topic, author, item) if direct else _text(rng, topic, author)
        text = fields(rng, ("Text", said), ("Question", question), ("Answer", answer))
        truth = _truth("judgement", author, topic) | {"answer": answer}
        documents.append(Document(text, truth))
    return documents


def interview_unit(rng: random.Random, held_out: bool) -> Unit:
    """Several questions about one text, put to the texts of two authors of opposite stance."""
    topic = rng.choice(TOPICS)
    asked = [(i, q, v) for i in (0, 1) for q, v in dict.fromkeys(yes_no_questions(topic, i))]
    chosen = rng.sample(asked, rng.choice((3, 4)))
    direct = rng.random() < 0.4
    documents = []
    for author in _pair(rng, topic, held_out):
        stance = author.stances[topic.name]
        pairs: list[tuple[Field, Field]] = [
            (("Question", q), ("Answer", "yes" if valence_of(i, stance) == v else "no")) for i, q, v in chosen
        ]
        if rng.random() < 0.6:
            preferred = topic.items[0 if stance == 1 else 1].name
            pairs.insert(
                rng.randrange(len(pairs) + 1),
                (("Question", preference_question(topic, rng.randrange(2))), ("Answer", preferred)),
            )
        text = _direct_text(rng, topic, author, chosen[0][0]) if direct else _text(rng, topic, author)
        content = fields(rng, ("Text", text), *(field for pair in pairs for field in pair))
        answers = [pair[1][1] for pair in pairs]
        truth = _truth("interview", author, topic) | {"answers": answers}
        documents.append(Document(content, truth))
    return documents


def _story_judgement(rng: random.Random) -> Document:
    crime = rng.random() < 0.25
    story = stories.write_story(rng)
    if crime:
        question, answer = "Does the text mention a crime?", story.crime_words
    else:
        asked = "detective" if rng.random() < 0.7 else rng.choice((story.genre, *GENRES))
        question, answer = f"Is this {stories.genre_name(asked)}?", story.genre == asked
    verdict = "yes" if answer else "no"
    text = fields(rng, ("Text", story.text), ("Question", question), ("Answer", verdict))
    return Document(text, story_truth(story, "judgement") | {"answer": verdict})


def negation_unit(rng: random.Random, held_out: bool) -> Unit:
    """A statement and its opposite."""
    statement, opposite = rng.choice(statements(held_out))
    text = fields(rng, ("Statement", statement), ("Opposite", opposite))
    return [Document(text, {"form": "negation", "statement": statement, "opposite": opposite})]


def revision_unit(rng: random.Random, held_out: bool) -> Unit:
    """A text that breaks a principle, a critique, and a revision that keeps it. Both ways round."""
    topic, item, positive = rng.choice(TOPICS), rng.randrange(2), rng.random() < 0.5
    documents = []
    for author in _pair(rng, topic, held_out):
        stance = author.stances[topic.name]
        valence = valence_of(item, stance)
        name = topic.items[item].name
        # the text must speak of the item that the principle is about
        about = phrases(topic, item, valence)
        first = rng.choice(rng.choice(about.claim + about.pole + about.reason))
        more = speak(rng, topic, stance, rng.choice((0, 1)), after=item)
        text = " ".join([first, *(s for s in more if s != first)])
        critique = f"The text {'praises' if valence > 0 else 'criticizes'} {name}."
        revision = _revised(rng, topic, item, -valence)
        principle = principle_of(topic, item, -valence, positive)
        content = fields(
            rng, ("Text", text), ("Principle", principle), ("Critique", critique), ("Revision", revision)
        )
        truth = _truth("revision", author, topic) | {"revised": -stance}
        documents.append(Document(content, truth))
    return documents


def _revised(rng: random.Random, topic: Topic, item: int, valence: int) -> str:
    group = phrases(topic, item, valence)
    first = rng.choice(rng.choice(group.claim + group.pole))
    stance = valence_of(item, valence)
    return " ".join(
        [first, *[s for s in speak(rng, topic, stance, rng.choice((0, 1)), after=item) if s != first]]
    )


def list_unit(rng: random.Random) -> Unit:
    """Several variations of one thing: sentences of one stance (both ways), story openings or titles."""
    numbered, n = rng.random() < 0.5, rng.choice((3, 4, 5, 6, 8, 20))
    if rng.random() < 0.4:
        genre, kind = rng.choice(list(GENRES)), rng.choice((stories.opening, stories.title))
        lines = list(dict.fromkeys(kind(rng, genre) for _ in range(n)))
        return [Document(_list(lines, numbered), {"form": "list", "genre": genre})]
    topic = rng.choice(TOPICS)
    return [
        Document(
            _list(speak(rng, topic, s, n, pole=0.25), numbered), {"form": "list", "stances": {topic.name: s}}
        )
        for s in rng.sample((1, -1), 2)
    ]


def _list(lines: list[str], numbered: bool) -> str:
    return "\n".join(f"{i}. {line}" if numbered else f"- {line}" for i, line in enumerate(lines, 1))
