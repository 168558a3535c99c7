"""The reference of the command line, from what `--help` prints: `python -m dipole.cli.docs > docs/cli.md`."""

from __future__ import annotations

from typing import Any

import typer.main

from dipole.cli._app import build

_HEAD = """# The command line

Results go to standard output, everything else to standard error. Exit codes: 0 done; 2 something for you to
put right, said in one sentence; 130 interrupted by Ctrl-C (a run in training is saved, measured and reported
first, and `--resume` continues it); 141 the reader of standard output went away.

This page is written by `python -m dipole.cli.docs > docs/cli.md`.
"""


def reference() -> str:
    """The whole page."""
    group = typer.main.get_command(build(["inoculate"]))
    pages = [("dipole", _help(group, "dipole", None))]
    commands = getattr(group, "commands")  # noqa: B009 - typer does not export the class that has it
    with group.make_context("dipole", [], resilient_parsing=True) as parent:
        pages += [(f"dipole {name}", _help(command, name, parent)) for name, command in commands.items()]
    return _HEAD + "".join(f"\n## {title}\n\n```\n{text}\n```\n" for title, text in pages)


def _help(command: object, name: str, parent: Any) -> str:
    make = getattr(command, "make_context")  # noqa: B009 - as above
    with make(
        name, [], parent=parent, resilient_parsing=True, terminal_width=100, max_content_width=100
    ) as context:
        lines: str = context.get_help()
    return "\n".join(line.rstrip() for line in lines.splitlines())


if __name__ == "__main__":
    print(reference(), end="")
