from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dipole.registry import CONTROLS, RECOGNIZERS, attribute_docs, options, resolve, unknown
from dipole.types import UserError

if TYPE_CHECKING:
    from somewhere import Missing


@dataclass(frozen=True)
class Knob:
    """A control with one of everything.

    Attributes:
        target: What it is for; this help
            goes on in a second line: with a colon.
        steps: Steps: at most so many.
        other: Seen by type checkers only.

    Raises:
        UserError: Never.
    """

    target: str
    steps: int = 3
    rate: float | None = None
    other: Missing | None = None
    words: list[str] = dataclasses.field(default_factory=list)
    hidden: int = dataclasses.field(init=False, default=1)

    name: ClassVar[str] = "knob"


@pytest.mark.parametrize(("table", "name"), [(t, n) for t in (CONTROLS, RECOGNIZERS) for n in t])
def test_entries_resolve_to_documented_dataclasses(table, name):
    cls = resolve(table, name)
    assert cls.name == name
    assert dataclasses.is_dataclass(cls)
    undocumented = [o.name for o in options(cls) if not o.help]
    assert not undocumented


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_made_without_arguments_and_frozen(name):
    cls = resolve(CONTROLS, name)
    if not cls.takes:  # what it needs is no concept, so it stands in its own fields
        pytest.skip(f"{name} says what may be said in its fields")
    assert not [o.name for o in options(cls) if o.required]
    assert cls.__dataclass_params__.frozen
    assert cls() == cls()
    assert list(inspect.signature(cls.fit).parameters)[:3] == ["self", "lm", "concept"]


def test_resolve_forgives_case_and_hyphens():
    table = {"best_of": "dipole.types:Sample"}
    assert resolve(table, "Best-Of") is resolve(table, "best_of")


def test_unknown_name_suggests_and_lists():
    with pytest.raises(
        UserError, match=r"no recognizer called 'vlma'\. Did you mean 'velma'\?.*embedding, mentions, nli"
    ):
        resolve(RECOGNIZERS, "vlma")
    with pytest.raises(UserError, match=r"no control called 'zzz'\. Available: prompt, ppo"):
        resolve(CONTROLS, "zzz")
    assert "Available: none." in str(unknown("thing", "a", []))


def test_options_of_a_dataclass():
    got = {o.name: o for o in options(Knob)}
    assert list(got) == ["target", "steps", "rate", "other", "words"]
    assert list(attribute_docs(Knob)) == ["target", "steps", "other"]
    assert got["target"].required
    assert got["target"].help == "What it is for; this help goes on in a second line: with a colon."
    assert (got["steps"].type, got["steps"].default, got["steps"].help) == (int, 3, "Steps: at most so many.")
    assert got["rate"].type == (float | None)
    assert got["other"].type is Any
    assert got["words"].default == []
    assert not got["words"].required


def test_options_wants_a_dataclass():
    with pytest.raises(TypeError, match="dataclass"):
        options(int)


def test_attribute_docs_without_section():
    class Bare:
        pass

    class Other:
        """Only words.

        Args:
            a: Not an attribute.
        """

    assert attribute_docs(Bare) == {}
    assert attribute_docs(Other) == {}
