"""The generated pages of the docs.

`python -m dipole.cli.docs > docs/cli.md`, and with `--controls` for `docs/controls/README.md`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import typer
import typer.main

from dipole.cli._app import build
from dipole.cli._flags import command
from dipole.cli.controls import lines
from dipole.registry import CONTROLS, options, resolve

_COMMANDS = """# The command line

Results go to standard output, everything else to standard error. Exit codes: 0 done; 2 something for you to
put right, said in one sentence; 130 interrupted by Ctrl-C (a run in training is saved, measured and reported
first, and `--resume` continues it); 143 or 129 ended by SIGTERM or SIGHUP (`--resume` continues from the last
checkpoint); 141 nobody reads standard output. Where nobody reads standard error, the work goes on in silence.

One command at a time works on a folder or file; a second one ends with 2 and says who holds it and since
when. What a command replaces stays until the new result is whole, whatever ends it, and so do your own files
in the folder (not those in dipole's own, such as `adapter/`). What a killed command left beside it is cleared
up by the next one.

`-` reads standard input line by line: a line's result comes out as soon as it is there, in memory that does
not grow.

This page is written by `python -m dipole.cli.docs > docs/cli.md`.
"""
_CONTROLS = """# The controls

What `dipole fit` takes. Where a control is graded, what it makes has a strength: 0 is the base model bit for
bit, 1 is as fitted, more is more, and a negative one pushes the other way (ablate, which takes away, has no
other way to push). The others are on (1) or off (0).

This page is written by `python -m dipole.cli.docs --controls > docs/controls/README.md`.

| control | acts on | strength | what it does | paper |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class _Bare:
    """A command that has the flags of a control alone."""

    fields: Any


def reference() -> str:
    """The page of the command line, from what `--help` prints."""
    group = typer.main.get_command(build(["inoculate"]))
    pages = [("dipole", _help(group, "dipole", None))]
    commands = getattr(group, "commands")  # noqa: B009 - typer does not export the class that has it
    with group.make_context("dipole", [], resilient_parsing=True) as parent:
        for name, one in commands.items():
            pages.append((f"dipole {name}", _help(one, name, parent)))
            if name == "fit":
                pages += [(f"dipole fit {control}", _own_flags(control)) for control in CONTROLS]
    return _COMMANDS + "".join(f"\n## {title}\n\n```\n{text}\n```\n" for title, text in pages)


def _own_flags(control: str) -> str:
    """The flags of a control, without those that `dipole fit` has for all of them."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command("fit")(command(_Bare, options(resolve(CONTROLS, control))))
    text = _help(typer.main.get_command(app), "fit", None)
    return "\n".join(line for line in text.partition("Options:\n")[2].splitlines() if " --help " not in line)


def _help(command: object, name: str, parent: Any) -> str:
    make = getattr(command, "make_context")  # noqa: B009 - as above
    with make(
        name, [], parent=parent, resilient_parsing=True, terminal_width=100, max_content_width=100
    ) as context:
        found: str = context.get_help()
    return "\n".join(line.rstrip() for line in found.splitlines())


def control_table() -> str:
    """The whole page."""
    rows = (
        f"| [{line.name}]({line.name}.md) | {line.surface} | {'graded' if line.graded else 'on or off'} "
        f"| {_cell(line.summary)} | {_cell(line.paper)} |\n"
        for line in lines()
    )
    return _CONTROLS + "".join(rows)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    print(control_table() if "--controls" in sys.argv else reference(), end="")
