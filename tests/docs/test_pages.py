"""The pages hold together: links lead somewhere, code has names that there are, and no page stands alone.

What the pages say to type is run by `make test-docs`; see `commands.py`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

LANGUAGES = {"", "python", "toml"}  # no language: a command line, or what it prints
_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.S | re.M)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.M)


def anchor_of(heading: str) -> str:
    """What GitHub makes of a heading."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


@pytest.fixture(scope="module")
def pages(repository: Path) -> dict[Path, str]:
    found = [*repository.glob("*.md"), *(repository / "docs").rglob("*.md")]
    return {path: path.read_text("utf-8") for path in sorted(found)}


def prose(text: str) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "`code`", _FENCE.sub("", text))


def links(path: Path, text: str) -> list[tuple[Path, str]]:
    """Files that a page leads to, each with its anchor."""
    own = [
        link for link in _LINK.findall(prose(text)) if "://" not in link and not link.startswith("mailto:")
    ]
    parts = [link.partition("#") for link in own]
    return [((path.parent / file).resolve() if file else path, anchor) for file, _, anchor in parts]


def test_every_link_leads_to_a_file_and_a_heading(pages: dict[Path, str]) -> None:
    broken = []
    for path, text in pages.items():
        for target, anchor in links(path, text):
            headings = [anchor_of(found) for found in _HEADING.findall(_FENCE.sub("", pages.get(target, "")))]
            if not target.exists() or (anchor and anchor not in headings):
                broken.append(f"{path.name}: {target.name}#{anchor}")
    assert broken == []


def test_every_page_can_be_reached_from_the_readme(repository: Path, pages: dict[Path, str]) -> None:
    reached, waiting = set(), [repository / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in pages and path not in reached:
            reached.add(path)
            waiting += [target for target, _ in links(path, pages[path])]
    assert sorted(path.name for path in pages.keys() - reached) == []


def test_fences_are_closed_and_of_a_kind_that_is_tried(pages: dict[Path, str]) -> None:
    for path, text in pages.items():
        left = _FENCE.sub("", text)
        assert "\n```" not in left, f"{path.name} has a fence that is not closed"
        assert {kind for kind, _ in _FENCE.findall(text)} <= LANGUAGES, path.name


def test_python_in_the_docs_is_python_and_imports_what_there_is(pages: dict[Path, str]) -> None:
    seen = 0
    for path, text in pages.items():
        for kind, block in _FENCE.findall(text):
            for node in ast.walk(ast.parse(block, path.name)) if kind == "python" else ():
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dipole"):
                    for alias in node.names:
                        exec(f"from {node.module} import {alias.name}", {})
                        seen += 1
    assert seen > 3


def test_modules_that_the_pages_name_are_there(repository: Path, pages: dict[Path, str]) -> None:
    source = repository / "src"
    for path, text in pages.items():
        if path.name in ("CHANGELOG.md", "decisions.md"):  # they tell of what was
            continue
        for name in re.findall(r"`(?:src/)?(dipole/[\w/]+\.py)`", text):
            assert (source / name).is_file(), f"{path.name}: {name}"
        for name in re.findall(r"(?:`|python -m )(dipole(?:\.[a-z_]+)+)\b", text):
            # The last part may be something in a module.
            places = [source.joinpath(*parts) for parts in (name.split("."), name.split(".")[:-1])]
            assert any(p.with_suffix(".py").is_file() or p.is_dir() for p in places), f"{path.name}: {name}"
