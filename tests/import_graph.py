"""Who imports whom in `src`, imports for types counted and re-exports followed to where a name is defined."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path

Graph = Mapping[str, frozenset[str]]


class Source:
    """The modules of a package, parsed once.

    Attributes:
        files: Path of each module, by its dotted name; that of a package is its `__init__.py`.
    """

    def __init__(self, root: Path) -> None:
        self.files: dict[str, Path] = {}
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root.parent).with_suffix("").parts
            self.files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        return {name: ast.parse(path.read_text("utf-8")) for name, path in self.files.items()}

    @cached_property
    def graph(self) -> Graph:
        """Every module with the modules of the package that it imports."""
        return {name: frozenset(self._imported(name)) - {name} for name in self.files}

    def package_of(self, module: str) -> str:
        return module if self.files[module].name == "__init__.py" else module.rpartition(".")[0]

    def statements(self, module: str) -> Iterator[tuple[str, str]]:
        """Each import, from anywhere in the text: module and name, which is empty for `import a.b`."""
        for node in ast.walk(self.trees[module]):
            if isinstance(node, ast.ImportFrom):
                assert not node.level, f"{module} has a relative import"
                yield from ((node.module or "", alias.name) for alias in node.names)
            elif isinstance(node, ast.Import):
                yield from ((alias.name, "") for alias in node.names)

    def _imported(self, module: str) -> Iterator[str]:
        for source, name in self.statements(module):
            home = self._home(source, name)
            if home is not None:
                yield home

    def _home(self, source: str, name: str, seen: frozenset[tuple[str, str]] = frozenset()) -> str | None:
        if f"{source}.{name}" in self.files:
            return f"{source}.{name}"
        if source not in self.files or (source, name) in seen:
            return source if source in self.files else None
        if self.files[source].name == "__init__.py":
            for further, given in self.statements(source):
                if given == name and further in self.files:
                    return self._home(further, name, seen | {(source, name)})
        return source


def circles(graph: Graph) -> list[frozenset[str]]:
    """Sets of more than one module, each of which leads to every other (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[frozenset[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph[node]:
            if other not in index:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == index[node]:
            cut = stack.index(node)
            ring, stack[cut:] = frozenset(stack[cut:]), []
            if len(ring) > 1:
                found.append(ring)

    for node in graph:
        if node not in index:
            visit(node)
    return found
