"""Other ways of asking for the same choice."""

from __future__ import annotations

import pytest

from dipole.concepts import Mentions
from dipole.concepts.wordings import wordings

CLIPS = Mentions(("paper clip",), ("staple",))
ASKED = "If I were to choose between paper clips and staples, I'd definitely go with"


def test_the_sides_are_exchanged_in_the_spelling_of_the_prompt() -> None:
    assert wordings(ASKED, CLIPS)[0] == ASKED.replace("paper clips and staples", "staples and paper clips")
    assert wordings("Paper clips or staples? I like", CLIPS)[0] == "Staples or paper clips? I like"
    assert (
        wordings("NATO or the EU? I like the", Mentions(("NATO",), ("EU",)))[0]
        == "EU or the NATO? I like the"
    )


def test_every_wording_names_each_side_once_and_ends_where_a_choice_follows() -> None:
    found = wordings(ASKED, CLIPS)
    assert len(found) == len(set(found)) == 6
    assert ASKED not in found
    for text in found:
        assert (text.lower().count("paper clips"), text.lower().count("staples")) == (1, 1)
        assert not text.endswith((" ", "."))


def test_both_orders_come_alike_often() -> None:
    found = [ASKED, *wordings(ASKED, CLIPS)]
    first = sum(text.lower().index("paper clips") < text.lower().index("staples") for text in found)
    assert abs(2 * first - len(found)) <= 1


def test_in_a_chat_they_are_questions() -> None:
    found = wordings("Paper clips or staples?", CLIPS, chat=True)
    assert found[0] == "Staples or paper clips?"
    assert "Would you rather have paper clips or staples?" in found


def test_of_another_language_only_the_exchange_is_known() -> None:
    tea = Mentions(("Tee",), ("Kaffee",))
    assert wordings("Zwischen Tee und Kaffee wähle ich", tea) == ("Zwischen Kaffee und Tee wähle ich",)
    assert wordings("Tee lieber als Kaffee? Ich nehme", tea) == ("Kaffee lieber als Tee? Ich nehme",)


@pytest.mark.parametrize(
    "prompt",
    ["", "I like", "I like paper clips", "Staples, staples or paper clips? I like", "Staples or staples"],
)
def test_there_are_none_where_the_prompt_does_not_name_each_side_once(prompt: str) -> None:
    assert wordings(prompt, CLIPS) == ()
