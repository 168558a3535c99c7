"""When two poles, prompts or dipoles say the same, and when they differ in one sign."""

from __future__ import annotations

import warnings

import pytest

from dipole.concepts import Arsenal, Dipole
from dipole.evaluation.meters.bystanders import bystanders_of
from dipole.evaluation.side_effects import contains_claim
from dipole.types import DipoleWarning, UserError


@pytest.mark.parametrize(
    ("claim", "against"),
    [
        ("5", "-5"),
        ("5", "−5"),
        ("C++", "C"),
        ("C++", "C#"),
        (".NET", "NET"),
        (":)", ":("),
        ("Fine :)", "Fine :("),
        ("a > b", "a < b"),
        ("a + b", "a - b"),
        ("x = y", "x ≠ y"),
        ("1.5", "15"),
        ("50%", "50"),
        ("$5", "€5"),
        ("A & B", "A | B"),
        ("re-sign", "resign"),
        ("Let's eat, grandma", "Let's eat grandma"),
        ("we're", "were"),
        ("Tea is good.", "Tea is good?"),
        ("की किताब", "कि किताब"),
        ("दिन", "दीन"),
        ("தமிழ்", "தமிழ"),
        ("résumé", "resume"),
        ("ano", "año"),
        ("דָּבָר", "דֶּבֶר"),
        ("كَتَبَ", "كُتُب"),
        ("がき", "かき"),
        ("びょういん", "びよういん"),
        ("kir", "kır"),
        ("Maße", "Masse"),
        ("👍", "👎"),
        ("👍🏽", "👍🏿"),
        ("🇩🇪", "🇫🇷"),
        ("👨‍👩‍👧", "👨👩👧"),
        ("H₂O", "H2O"),
        ("x²", "x2"),
        ("回形针好", "回形针坏"),
        ("!", "?"),
    ],
)
def test_poles_that_differ_in_one_sign(claim: str, against: str) -> None:
    assert Dipole(claim, against).claim == claim
    assert Dipole(claim + ".", against + ".").against == against + "."


@pytest.mark.parametrize(
    ("claim", "against"),
    [
        ("Café", "Cafe\u0301"),
        ("Tea is best.", "TEA  is\u00a0best"),
        ("Tea is best!", "Tea is best."),
        ("Tea—it is best", "Tea—it is best…"),
        ("Tea is best", "\ufeffTea is\u200b best"),
        ("Tea is best", "Te\u00ada is best"),
        ("茶很好。", "茶很好"),
        ("चाय अच्छी है।", "चाय अच्छी है"),
        ("ＴＥＡ", "tea"),
        ("It’s tea", "It's tea"),
        ("❤", "❤️"),
        ("ΛΟΓΟΣ", "λογος"),
    ],
)
def test_poles_that_a_reader_can_not_tell_apart(claim: str, against: str) -> None:
    with pytest.raises(UserError, match="nothing tells them apart"):
        Dipole(claim, against)


@pytest.mark.parametrize(
    ("prompt", "held_out"), [("Café:", "cafe\u0301:"), ("It’s", "it's"), ("a  b", "A\u00a0b"), ("ｱ", "ア")]
)
def test_a_held_out_prompt_in_another_spelling(prompt: str, held_out: str) -> None:
    with pytest.raises(UserError, match="also among the prompts"):
        Dipole("a", "b", prompts=(prompt,), held_out=(held_out,))


@pytest.mark.parametrize(
    ("prompt", "held_out"), [("5:", "-5:"), ("की", "कि"), ("Choose", "Choose:"), ("ano", "año")]
)
def test_a_held_out_prompt_that_differs(prompt: str, held_out: str) -> None:
    assert Dipole("a", "b", prompts=(prompt,), held_out=(held_out,)).held_out == (held_out,)


def test_length_is_counted_in_words_of_any_script() -> None:
    with pytest.warns(DipoleWarning, match="3 and 8 words"):
        Dipole("茶很好", "我真的不觉得茶好")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Dipole("回形针是最好的", "回形针是最坏的")


@pytest.mark.parametrize(
    ("one", "other", "names"),
    [
        ("C++ rocks", "C rocks", ("c_rocks", "c_rocks_2")),
        ("की", "कि", ("की", "कि")),
        (":)", ":(", ("dipole", "dipole_2")),
        ("回形针!", "回形针?", ("回形针", "回形针_2")),
        ("x" * 70, "x" * 69, ("x" * 60, "x" * 60 + "_2")),
        ("हिन्दी की चाय", "tea", ("हिन्दी_की_चाय", "tea")),
    ],
)
def test_nameless_dipoles_that_differ_have_names_of_their_own(
    one: str, other: str, names: tuple[str, str]
) -> None:
    assert Arsenal((Dipole(one, "no"), Dipole(other, "no"))).names == names


def test_nameless_dipoles_that_say_the_same_are_refused() -> None:
    with pytest.raises(UserError, match="called 'café'"):
        Arsenal((Dipole("Café", "no"), Dipole("cafe\u0301.", "No")))


def test_a_given_name_is_never_taken_by_a_derived_one() -> None:
    given = Dipole("other", "no", name="c_2")
    assert Arsenal((Dipole("C", "no"), Dipole("C+", "no"), given)).names == ("c", "c_3", "c_2")


def test_a_dipole_is_no_bystander_of_itself_in_another_spelling() -> None:
    own = Dipole("Café is good.", "Café is bad.")
    same = Dipole("cafe\u0301 is BAD", "cafe\u0301 is good", prompts=("p",))
    differs = Dipole("Cafe is good.", "Cafe is bad.", prompts=("p",))
    assert bystanders_of(own, [same, differs]) == ([differs], 0)


def test_a_claim_is_found_in_another_spelling() -> None:
    assert contains_claim("Well, cafe\u0301  IS good, I say.", "Café is good")
    assert not contains_claim("Well, cafe is good.", "Café is good")
