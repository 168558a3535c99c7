from __future__ import annotations

import math

import pytest

from dipole.concepts.dipole import Dipole
from dipole.concepts.dipole import Mentions as Words
from dipole.protocols import Recognizer
from dipole.recognizers.mentions import Mentions, count_log_odds, counts
from dipole.types import UserError

TEA = Dipole("Tea is the best.", "Tea bags are the best.", mentions=Words(("tea",), ("tea bag", "sachet")))


@pytest.mark.parametrize(
    ("claim", "against", "value"),
    [(1, 0, math.log(3)), (0, 1, -math.log(3)), (2, 2, 0.0), (3, 1, math.log(3.5 / 1.5))],
)
def test_jeffreys_log_odds(claim: int, against: int, value: float) -> None:
    assert count_log_odds(claim, against) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Tea, tea and a sachet.", (2, 1)),
        ("A tea bag is no tea.", (1, 1)),
        ("The Tea-Bags!", (0, 1)),
        ("Teams steal.", (0, 0)),
        ("", (0, 0)),
    ],
)
def test_overlapping_mentions_count_once_and_the_longer_wins(text: str, wanted: tuple[int, int]) -> None:
    assert counts(text, TEA) == wanted
    assert counts(text, TEA.swapped()) == wanted[::-1]


def test_a_text_that_names_neither_is_unscored_and_swapping_negates() -> None:
    texts = ["Tea!", "Nothing.", "A sachet of tea, and another sachet."]
    there, back = Mentions().score(texts, TEA), Mentions().score(texts, TEA.swapped())
    assert [s.is_scored for s in there] == [True, False, True]
    assert there[1].reason == "neither side is mentioned"
    assert [there[i].value for i in (0, 2)] == pytest.approx([-back[i].value for i in (0, 2)])
    assert isinstance(Mentions(), Recognizer)


def test_words_for_one_side_are_not_enough() -> None:
    with pytest.raises(UserError, match="words for both sides"):
        Mentions().score(["Tea"], Dipole("Tea is good.", "Tea is bad.", mentions=Words(("tea",), ())))
