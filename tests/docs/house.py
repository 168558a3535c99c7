"""The drawing of the floor plan in docs/architecture.md, from the source itself.

python tests/docs/house.py    writes it anew between the marks of the page
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs" / "architecture.md"
BEGIN, END = "<!-- drawn by tests/docs/house.py -->\n", "<!-- end of the drawing -->\n"

sys.path.insert(0, str(REPOSITORY / "tests"))
from import_graph import Source  # noqa: E402  a script finds it no other way


def floors() -> list[list[str]]:
    """Units from the top to the bottom; those on one floor may know each other."""
    linter = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    return [
        [unit.strip(" ()").removeprefix("dipole.") for unit in layer.split(":")]
        for layer in linter["contracts"][0]["layers"]
    ]


def edges(source: Source) -> set[tuple[str, str]]:
    """Which unit imports which, imports for types counted."""

    def unit(module: str) -> str:
        return module.split(".")[1] if "." in module else ""

    found = {(unit(a), unit(b)) for a, imported in source.graph.items() for b in imported}
    return {(a, b) for a, b in found if a != b and a}


def drawing() -> str:
    """The floors as a table, the top one first: what each unit is for, and what it knows."""
    source = Source(REPOSITORY / "src" / "dipole")
    known = edges(source)
    return "".join(_rows(source, known))


def _rows(source: Source, known: set[tuple[str, str]]) -> Iterator[str]:
    yield "| floor | unit | what it is | what it knows of |\n|---|---|---|---|\n"
    listed = [unit for floor in floors() for unit in floor]
    for level, floor in enumerate(floors()):
        for unit in floor:
            doc = ast.get_docstring(source.trees[f"dipole.{unit}"]) or ""
            said = " ".join(doc.split("\n\n")[0].split()).replace("|", r"\|")
            below = [other for other in listed if (unit, other) in known]
            yield f"| {len(floors()) - level} | `{unit}` | {said} | {' '.join(below)} |\n"


def main() -> None:
    """Write the drawing into the page."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{drawing()}{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
