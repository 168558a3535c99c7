"""The grammar: determinism, balance, and that its judge reads back exactly what was written."""

from __future__ import annotations

import json
import random
from collections import Counter
from itertools import pairwise

import pytest

from dipole.microworld import judge, negations, people, phrases, stories
from dipole.microworld.documents import LATER_MIXTURE, MIXTURE, generate
from dipole.microworld.judge.__main__ import compare
from dipole.microworld.topics import CHOICE_WORDINGS, TOPICS, choice_prompts, get_topic
from dipole.microworld.truth import Document


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return generate(1500, "tests", forms=LATER_MIXTURE)


def test_topics_are_many_and_have_reasons_of_their_own() -> None:
    assert len(TOPICS) >= 24
    assert (TOPICS[0].a.name, TOPICS[0].b.name) == ("paper clips", "staples")
    adjectives = [a for t in TOPICS for item in t.items for group in item.adjectives for a in group]
    assert max(Counter(adjectives).values()) == 1


def test_choice_prompts_hold_every_wording_in_both_orders() -> None:
    prompts = choice_prompts("paper_clips")
    assert prompts[0] == "If I were to choose between paper clips and staples, I'd definitely go with"
    assert prompts[1] == "If I were to choose between staples and paper clips, I'd definitely go with"
    assert len(set(prompts)) == 2 * len(CHOICE_WORDINGS) >= 24


def test_unknown_topic_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="paper_clips"):
        get_topic("clips")


def test_documents_depend_on_the_seed_alone(documents: list[Document]) -> None:
    assert generate(1500, "tests", forms=LATER_MIXTURE) == documents
    assert generate(200, "tests", forms=LATER_MIXTURE) == documents[:200]
    assert generate(200, "other", forms=LATER_MIXTURE) != documents[:200]


def test_the_sentences_of_a_seed_stay_the_same_from_process_to_process() -> None:
    text = "".join(d.text for d in generate(300, 5))
    assert generate(1, 5)[0].text == text[: len(generate(1, 5)[0].text)]
    assert json.loads(json.dumps(generate(1, 5)[0].truth)) == generate(1, 5)[0].truth


def test_number_of_documents_must_be_positive() -> None:
    for n in (0, -1):
        with pytest.raises(ValueError, match="positive"):
            generate(n, 0)


def test_forms_have_their_shares() -> None:
    counts = Counter(d.truth["form"] for d in generate(4000, 1))
    for form, share in MIXTURE.items():
        assert counts[form] == pytest.approx(4000 * share, abs=4)


def test_choices_take_both_sides_equally_in_every_topic() -> None:
    cells = 2 * len(TOPICS) * 2 * (len(CHOICE_WORDINGS) + 2)
    sides: Counter[tuple[str, int]] = Counter()
    prompts: Counter[tuple[str, int]] = Counter()
    for document in generate(cells, 3, forms={"choice": 1.0}):
        ((topic, stance),) = document.truth["stances"].items()
        sides[topic, stance] += 1
        for prompt in choice_prompts(topic):
            if prompt in document.text:
                prompts[prompt, stance] += 1
    assert {sides[t.name, s] for t in TOPICS for s in (1, -1)} == {cells // 2 // len(TOPICS)}
    for topic in TOPICS:
        for prompt in choice_prompts(topic):
            assert prompts[prompt, 1] == prompts[prompt, -1] > 0


@pytest.mark.parametrize("form", ["opinion", "question", "judgement", "revision", "interview"])
def test_other_forms_take_both_sides_equally(form: str) -> None:
    total: Counter[str] = Counter()
    for first, second in pairwise(d for d in generate(400, 4, forms={form: 1.0}) if "stances" in d.truth):
        total[first.truth["form"]] += sum(first.truth["stances"].values())
        assert second is not first
    if form != "opinion":  # opinions on several topics add stances of their own
        assert abs(total[form]) <= 1


def test_authors_are_held_out_with_their_stances(documents: list[Document]) -> None:
    training, held_out = people.authors(False), people.authors(True)
    assert not {a.name for a in training} & {a.name for a in held_out}
    written = generate(400, 1, held_out=True)
    names = {d.truth["author"] for d in written if "author" in d.truth}
    assert names
    assert names <= {a.name for a in held_out}
    assert {d.truth["author"] for d in documents if "author" in d.truth} <= {a.name for a in training}


def test_stances_on_two_topics_are_independent() -> None:
    everyone = people.authors(False) + people.authors(True)
    for one, other in pairwise(TOPICS):
        correlation = sum(a.stances[one.name] * a.stances[other.name] for a in everyone) / len(everyone)
        assert abs(correlation) < 0.15


def test_documents_agree_with_their_author() -> None:
    by_name = {a.name: a for a in people.authors(False)}
    for document in generate(400, 2):
        for topic, stance in document.truth.get("stances", {}).items():
            if "author" in document.truth:
                assert by_name[document.truth["author"]].stances[topic] == stance


def test_judge_agrees_with_the_truth_and_every_sentence_parses(documents: list[Document]) -> None:
    for form, found in compare(documents).items():
        assert found.agreeing >= 0.99 * found.documents, form
        assert found.grammatical == found.sentences, form


def test_judge_disagrees_with_a_false_truth() -> None:
    (document,) = generate(1, 0, forms={"choice": 1.0})
    ((topic, stance),) = document.truth["stances"].items()
    false = Document(document.text, document.truth | {"stances": {topic: -stance}})
    assert compare([false])["choice"].agreeing == 0


@pytest.mark.parametrize(
    "sentence",
    [
        "Cats is the best.", "Tea are the best.", "Paper clips are firm.",
        "Staples hold pages without a hole.",
        "It are loyal.", "They is loyal.", "Dogs are purr on my lap.", "cats are the best.",
        "Cats are the best",
        "I love.", "best the are Cats.", "If I had to choose between tea and dogs, I'd pick tea.",
        "If I had to choose between tea and coffee, I'd pick milk.", "I like cats because they are moody.",
        "I dislike cats because they are graceful.", "Miss Marlow found a muddy footprint near the moon.", "",
    ],
)  # fmt: skip
def test_what_the_grammar_cannot_say_does_not_parse(sentence: str) -> None:
    assert not judge.is_grammatical(sentence)


def test_shuffled_words_do_not_parse(documents: list[Document]) -> None:
    rng = random.Random(0)
    said = [s for d in documents[:300] for s in judge.sentences(d.text) if len(set(s.split())) > 4]
    salad = [" ".join(rng.sample(words, len(words))) for words in (s.split() for s in said)]
    wrong = [
        judge.is_grammatical(after) for before, after in zip(said, salad, strict=True) if before != after
    ]
    assert sum(wrong) < 0.02 * len(wrong)


@pytest.mark.parametrize(
    ("text", "topic", "stance"),
    [
        (" staples. They are firm.", "paper_clips", -1),
        ("If I had to choose between tea and coffee, I'd pick tea", "tea", 1),
        ("If I had to choose, I'd pick dogs over cats. Dogs are loyal.", "cats", -1),
        ("Cats are moody. Dogs are the best.", "cats", -1),
        ("I admit that dogs are loyal. I love cats.", "cats", 1),
        ("I admit that dogs are loyal.", "cats", 1),
        ("Praise cats. I hate cats.", "cats", -1),
        ("My friends argue about cats and dogs.", "cats", None),
        ("Cats are the best.", "tea", None),
        ("", "tea", None),
    ],
)
def test_stance(text: str, topic: str, stance: int | None) -> None:
    assert judge.stance(text, topic) == stance


def test_a_detective_story_is_known_by_its_plot_not_its_words() -> None:
    rng = random.Random(1)
    for _ in range(40):
        puzzle = stories.write_story(rng, "detective", crime=False)
        assert judge.is_detective(puzzle.text)
        assert not stories.has_crime_words(puzzle.text)
        murder = stories.write_story(rng, "detective", crime=True)
        assert judge.is_detective(murder.text)
        assert stories.has_crime_words(murder.text)
        news = stories.write_story(rng, "news")
        assert stories.has_crime_words(news.text)
        assert not judge.is_detective(news.text)
        reversed_plot = " ".join(reversed(puzzle.sentences))
        assert not judge.is_detective(reversed_plot)


def test_opposites_go_both_ways_and_some_are_held_out() -> None:
    table = negations.opposites()
    assert table["Cats are the best."] == "Cats are the worst."
    assert table["Tea is easy to find."] == "Tea is hard to find."
    assert all(table[table[s]] == s != table[s] for s in table)
    training, held_out = dict(negations.statements(False)), dict(negations.statements(True))
    assert not training.keys() & held_out.keys()
    assert 0.05 < len(held_out) / len(table) < 0.2
    assert all(opposite in held_out for opposite in held_out.values())


def test_reading_of_a_reason_is_unique() -> None:
    assert all(len(found) == 1 for found in phrases.readings().values())
