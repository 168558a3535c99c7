"""Declarations of what a file may hold: each refuses what lies beside its range, and names the entry."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import pytest

from dipole.files.schema import (
    Choice,
    Either,
    Facts,
    Field,
    Flag,
    Items,
    Map,
    Maybe,
    Misfit,
    Name,
    Number,
    Optional,
    Table,
    Text,
    Whole,
    checked,
    of_fields,
    shown,
)
from dipole.types import UserError

DEEP: list[Any] = []
for _ in range(50_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("field", "good", "bad"),
    [
        (Whole(1, 9), [1, 9], [0, 10, 1.0, 1e30, True, "1", None, 10**400, [1], math.nan]),
        (Number(0, 1), [0, 1, 0.5], [-1e-9, 1.1, math.nan, math.inf, True, "0", None, 10**400, {}]),
        (Number(0, 1, above=True), [1e-9, 1], [0, -0.0, 2]),
        (Flag(), [True, False], [0, 1, "true", None]),
        (Text(3, 1), ["a", "a\nb", "é"], ["", "abcd", "\ud800", 1, None, ["a"]]),
        (Name(3, 1), ["a", "a b"], ["", "abcd", "a\n", "\0", "\x7f", "\u2028", "\ud800", 1, None]),
        (Choice(("a", 1)), ["a", 1], ["b", True, 1.5, None, ["a"], {}]),
        (Maybe(Flag()), [None, True], [0, "null"]),
        (Items(Whole(), 1, 2), [[1], [1, 2]], [[], [1, 2, 3], "12", {"0": 1}, [None], DEEP]),
        (Map(Name(2), Whole()), [{}, {"a": 1}], [[], {"abc": 1}, {"a": -1}, None]),
        (Either(Flag(), Whole()), [True, 3], ["a", 1.5, None]),
        (Facts(), [{}, {"a": [1]}], [[], None, "a"]),
        (
            Table({"a": Whole(), "b": Optional(Flag(), True)}),
            [{"a": 1}, {"a": 1, "b": False}],
            [{}, {"b": True}, {"a": 1, "c": 1}, {"a": 1, "b": None}, [], None],
        ),
        (Table({"a": Whole()}, more=True), [{"a": 1, "c": DEEP}], [{"c": 1}]),
    ],
)
def test_what_is_taken_and_what_is_not(field: Field, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        field.read(value, "x")
    for value in bad:
        with pytest.raises(Misfit, match=r"x(\[0\]|\.\w+)? |a name in x ") as caught:
            field.read(value, "x")
        assert len(str(caught.value)) < 250
        assert "\n" not in str(caught.value)


def test_values_come_in_their_types() -> None:
    table = Table({"n": Number(), "t": Items(Maybe(Number(), math.nan)), "b": Optional(Whole(), 7)})
    made = table.read({"n": 1, "t": [None, 2]}, "")
    assert (type(made["n"]), made["n"], made["b"]) == (float, 1.0, 7)
    assert math.isnan(made["t"][0])
    assert made["t"][1:] == (2.0,)


def test_one_sentence_names_file_entry_and_remedy() -> None:
    inner = Table({"layers": Items(Table({"sign": Whole(-1, 1)}))})
    with pytest.raises(UserError) as caught:
        checked(inner, {"layers": [{"sign": 0}, {"sign": 5}]}, "a.json", "fit it again")
    assert str(caught.value) == (
        "a.json is damaged: layers[1].sign must be a whole number from -1 to 1, and is 5; fit it again."
    )
    with pytest.raises(UserError, match=r"unknown key 'layer'\. Did you mean 'layers'\?"):
        checked(inner, {"layers": [], "layer": 1}, "a.json", "fit it again")


def test_a_dataclass_declares_its_fields() -> None:
    @dataclass
    class Made:
        n: int
        x: float | None
        mode: Literal["a", "b"]
        names: tuple[str, ...] = ()
        on: bool = False

    table = of_fields(Made)
    good = {"n": 1, "x": None, "mode": "a", "names": ["b"], "on": True}
    assert Made(**table.read(good, "")) == Made(1, None, "a", ("b",), True)
    assert Made(**table.read({"n": 1, "x": 2, "mode": "a"}, "")) == Made(1, 2.0, "a")
    for name, value in (("n", 1e30), ("x", "1"), ("mode", "c"), ("names", [1]), ("on", 1), ("m", 1)):
        with pytest.raises(Misfit, match=name):
            table.read({**good, name: value}, "")


def test_values_are_shown_short() -> None:
    for value in (DEEP, {"a": DEEP}, 10**5000, "x" * 10**6, list(range(10**5)), [10**5000], None, math.nan):
        assert len(shown(value)) < 70
