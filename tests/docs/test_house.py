"""docs/architecture.md draws the house as it stands."""

from __future__ import annotations

from pathlib import Path

import house

from import_graph import Source


def test_the_drawing_is_that_of_the_source() -> None:
    text = house.PAGE.read_text("utf-8")
    drawn = text.partition(house.BEGIN)[2].partition(house.END)[0]
    assert drawn == house.drawing(), "run python tests/docs/house.py"


def test_every_unit_has_its_floor(repository: Path) -> None:
    units = {path.stem for path in (repository / "src" / "dipole").iterdir() if path.suffix == ".py"}
    units |= {path.parent.name for path in (repository / "src" / "dipole").glob("*/__init__.py")}
    listed = {unit for floor in house.floors() for unit in floor}
    assert units - listed == {"__init__", "microworld"}


def test_imports_for_types_go_down_too(repository: Path) -> None:
    level = {unit: k for k, floor in enumerate(house.floors()) for unit in floor}
    up = [
        (a, b)
        for a, b in house.edges(Source(repository / "src" / "dipole"))
        if a in level and b in level and level[b] < level[a]
    ]
    assert up == []
