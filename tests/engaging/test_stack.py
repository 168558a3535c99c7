"""What is at work in a model, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from architectures import tiny_model
from dipole.engaging.stack import Frame, engaged


class Noted:
    surface = "activations"
    order: list[str] = []  # noqa: RUF012  shared by both kinds

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def put_in(cls, _: Frame, parts: Sequence[tuple[Any, float]]) -> None:
        Noted.order += [part.name for part, _ in parts]


class Other(Noted):
    pass


def test_parts_of_several_kinds_keep_their_order() -> None:
    """A projection before an addition is not one after it."""
    Noted.order.clear()
    parts = [(Noted("one"), 1.0), (Other("two"), 1.0), (Noted("three"), 1.0)]
    with engaged(tiny_model("llama").resident.model, parts):
        assert Noted.order == ["one", "two", "three"]
