"""The page of the docs that lists the controls."""

from __future__ import annotations

from dipole.cli._controls import lines

_HEAD = """# The controls

What `dipole fit` takes. Where a control is graded, what it makes has a strength: 0 is the base model bit for
bit, 1 is as fitted, more is more, and a negative one pushes the other way (ablate, which takes away, has no
other way to push). The others are on (1) or off (0).

This page is written by `python -m dipole.cli.docs --controls > docs/controls/README.md`.

| control | acts on | strength | what it does | paper |
| --- | --- | --- | --- | --- |
"""


def control_table() -> str:
    """The whole page."""
    rows = (
        f"| [{line.name}]({line.name}.md) | {line.surface} | {'graded' if line.graded else 'on or off'} "
        f"| {_cell(line.summary)} | {_cell(line.paper)} |\n"
        for line in lines()
    )
    return _HEAD + "".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
