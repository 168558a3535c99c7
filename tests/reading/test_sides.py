"""Answers and texts whose side is known, by what they name."""

from __future__ import annotations

from architectures import tiny_model
from dipole.concepts import Dipole
from dipole.concepts.dipole import Mentions
from dipole.reading.sides import answers, forms, names_both, sided, takes_claim
from dipole.reading.told import Told
from dipole.types import Sample

PROMPTS = ("Tea bags or coffees?", "I take coffees or TEA BAGS:", "A coffee is")
DIPOLE = Dipole(
    "I like tea.", "I like coffee.", prompts=PROMPTS, mentions=Mentions(("tea bag",), ("coffee",))
)
SILENT = Dipole("I like tea.", "I like coffee.", prompts=PROMPTS)


def sample(text: str) -> Sample:
    return Sample("I like", text, (), (), (), 0, "length")


def test_a_side_is_called_as_its_prompts_call_it() -> None:
    assert forms(DIPOLE) == ("tea bags", "coffees")
    assert forms(DIPOLE.swapped()) == ("coffees", "tea bags")
    bare = Dipole("I like tea.", "I like coffee.", mentions=Mentions(("tea",), ("coffee",)))
    assert forms(bare) == ("tea", "coffee")
    assert forms(SILENT) == ("", "")
    assert (names_both(DIPOLE), names_both(SILENT)) == (True, False)


def test_the_side_is_that_of_the_first_mention() -> None:
    said = ["Tea bags, not coffee", "coffee and tea bags", "water"]
    assert [takes_claim(DIPOLE, text) for text in said] == [True, False, None]


def test_texts_are_for_the_side_that_they_name_whatever_was_told() -> None:
    told = Told(
        ("I like",) * 3,
        (0, 1, 2),
        tuple(map(sample, ("tea bags", "coffee", "rain"))),
        tuple(map(sample, ("snow", "coffee", "a tea bag"))),
    )
    found = [(text.sample.text, text.claim) for text in sided(DIPOLE, told)]
    assert found == [("tea bags", True), ("coffee", False), ("coffee", False), ("a tea bag", True)]
    as_told = [True] * 3 + [False] * 3
    assert [text.claim for text in sided(SILENT, told)] == as_told
    one_sided = told._replace(against=told.claim[:1] * 3, claim=told.claim[:1] * 3)
    assert [text.claim for text in sided(DIPOLE, one_sided)] == as_told


def test_an_answer_is_the_name_behind_a_blank() -> None:
    lm = tiny_model("gpt2")
    told = answers(lm, DIPOLE, PROMPTS[:2])
    assert told.prompts == PROMPTS[:2]
    for side, text in ((told.claim, " tea bags"), (told.against, " coffees")):
        assert [s.text for s in side] == [text] * 2
        assert list(side[0].token_ids) == lm.resident.continuation_ids(text)
