"""Everything gives what it gave."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from golden import _api, controls
from golden.cases import CASES, RECORDS, read
from golden.differences import Tolerance, differences


def test_everything_has_a_record() -> None:
    assert {path.stem for path in RECORDS.glob("*.json")} == set(CASES)
    assert {control for control, _ in controls.CONTROLS.values()} == set(_api.CONTROLS)


@pytest.mark.parametrize("name", CASES)
def test_it_gives_what_it_gave(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for package in case.needs:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it comes with the extra dev")
    found = differences(read(name), case.make(tmp_path), case.tolerance)
    assert not found, "\n".join([f"{len(found)} differences, see golden/__init__.py:", *found[:20]])


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ({"a": 1.0}, {"a": 1.02}),
        ({"a": 1.0}, {"a": -1.0}),
        ({"a": 0.0}, {"a": 0.002}),
        ({"a": 1.0}, {"a": "nan"}),
        ({"a": "nan"}, {"a": 1.0}),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": 2}),
        ({"a": 1}, {"a": True}),
        ({"a": None}, {"a": 0.0}),
        ({"a": "x"}, {"a": "y"}),
        ({"a": [1, 2]}, {"a": [1]}),
        ({"a": [1, 2, 3]}, {"a": [1, 3, 3]}),
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ({"low": 1.0}, {"low": 1.2}),
        ({"a": [{"b": 1.0}]}, {"a": [{"b": 2.0}]}),
    ],
)
def test_a_difference_is_seen(was: object, now: object) -> None:
    assert len(differences(was, now, Tolerance(1e-3, 1e-2))) == 1
    assert differences(was, was, Tolerance(0.0, 0.0)) == []


def test_what_is_near_is_no_difference() -> None:
    assert differences([1.0, 0.0, 100.0], [1.0005, 0.0009, 100.9], Tolerance(1e-3, 1e-2)) == []
