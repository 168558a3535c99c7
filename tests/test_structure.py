"""The floor plan: no circle of imports, no private module used from outside, small files and functions."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from import_graph import Graph, Source, circles

MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION = 250, 30  # of nine in ten


@pytest.fixture(scope="module")
def source(repository: Path) -> Source:
    return Source(repository / "src" / "dipole")


def test_a_circle_is_found() -> None:
    graph: Graph = {
        "a": frozenset("b"),
        "b": frozenset("cd"),
        "c": frozenset("a"),
        "d": frozenset("e"),
        "e": frozenset(),
    }
    assert circles(graph) == [frozenset("abc")]
    assert circles({name: others - {"a"} for name, others in graph.items()}) == []


def test_re_exports_are_followed(tmp_path: Path) -> None:
    package = tmp_path / "some"
    package.mkdir()
    (package / "__init__.py").write_text("from some.inner import thing\n")
    (package / "inner.py").write_text("thing = 1\n")
    (package / "user.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from some import thing\n"
    )
    assert Source(package).graph == {
        "some": {"some.inner"},
        "some.inner": frozenset(),
        "some.user": {"some.inner"},
    }


def test_no_circle_of_imports_for_types_neither(source: Source) -> None:
    assert [sorted(ring) for ring in circles(source.graph)] == []


def test_no_private_module_is_imported_from_another_package(source: Source) -> None:
    found = set()
    for module in source.files:
        package = source.package_of(module)
        for home, name in source.statements(module):
            wanted = f"{home}.{name}" if f"{home}.{name}" in source.files else home
            parts = wanted.split(".")
            owners = [".".join(parts[:k]) for k, part in enumerate(parts) if _is_private(part)]
            if wanted in source.files and owners and not f"{package}.".startswith(f"{owners[0]}."):
                found.add((module, wanted))
    assert sorted(found) == []


def test_the_import_contract_has_no_exemption(repository: Path) -> None:
    linter = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    assert [c["name"] for c in linter["contracts"] if c.get("ignore_imports")] == []


def test_nine_files_in_ten_are_short(source: Source) -> None:
    lengths = {name: path.read_text("utf-8").count("\n") for name, path in source.files.items()}
    long = {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FILE}
    assert len(long) <= 0.1 * len(lengths), long


def test_nine_functions_in_ten_are_short(source: Source) -> None:
    lengths = {
        f"{module}:{node.name}:{node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module, tree in source.trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    long = {name: n for name, n in lengths.items() if n > MOST_LINES_OF_A_FUNCTION}
    assert len(long) <= 0.1 * len(lengths), long


def _is_private(part: str) -> bool:
    return part.startswith("_") and not part.startswith("__")
