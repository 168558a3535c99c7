"""Naming an intervention on the command line, and finding it on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from dipole.interventions import load_intervention, parse_intervention
from dipole.types import UserError


@pytest.mark.parametrize(
    ("text", "folder", "strength"),
    [
        ("runs/clips", "runs/clips", 1.0),
        ("runs/clips:0.5", "runs/clips", 0.5),
        ("runs/clips:-2", "runs/clips", -2.0),
        ("runs/clips:1e-1", "runs/clips", 0.1),
        ("runs/clips:0", "runs/clips", 0.0),
        (r"C:\runs\clips", r"C:\runs\clips", 1.0),
        (r"C:\runs\clips:2", r"C:\runs\clips", 2.0),
        ("odd:name", "odd:name", 1.0),
        ("odd:name:3", "odd:name", 3.0),
    ],
)
def test_folder_and_strength(text: str, folder: str, strength: float) -> None:
    assert parse_intervention(text) == (folder, strength)


@pytest.mark.parametrize(
    "text", ["runs/clips:nan", "runs/clips:inf", "runs/clips:-Infinity", "runs/clips:1e999"]
)
def test_strengths_that_are_no_number(text: str) -> None:
    with pytest.raises(UserError, match="finite"):
        parse_intervention(text)


@pytest.mark.parametrize("text", ["", ":1", ":"])
def test_no_folder(text: str) -> None:
    if text == ":":
        assert parse_intervention(text) == (":", 1.0)
        return
    with pytest.raises(UserError, match="names no folder"):
        parse_intervention(text)


def test_places_without_an_intervention(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_intervention(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="is a file"):
        load_intervention(tmp_path / "file")
    with pytest.raises(UserError, match="holds no intervention"):
        load_intervention(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="use model=…"):
        load_intervention(tmp_path)
    (tmp_path / "adapter").mkdir()
    with pytest.raises(UserError, match="holds no intervention"):
        load_intervention(tmp_path)


def test_a_surface_of_the_future(tmp_path: Path) -> None:
    (tmp_path / "dipole.json").write_text('{"surface": "activations"}')
    with pytest.raises(UserError, match=r"'activations'.*update dipole"):
        load_intervention(tmp_path)
