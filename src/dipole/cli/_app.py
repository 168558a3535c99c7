"""The commands, put together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from dipole.cli._console import emit
from dipole.cli._flags import command, switches
from dipole.cli.basin import Basin
from dipole.cli.check import Check
from dipole.cli.compare import Compare
from dipole.cli.compose import Compose
from dipole.cli.controls import Controls
from dipole.cli.derive import Derive
from dipole.cli.diff import Diff
from dipole.cli.dipoles import Dipoles
from dipole.cli.elephants import Elephants
from dipole.cli.fit import Fit
from dipole.cli.generate import Generate
from dipole.cli.gguf import Export, Import
from dipole.cli.inoculate import Inoculate
from dipole.cli.point import Point
from dipole.cli.score import Score
from dipole.cli.sweep import Sweep
from dipole.cli.topics import Topics
from dipole.cli.translate import Translate
from dipole.registry import CONTROLS, TRAINED, Option, options, plain, resolve

# In the order that `--help` has them.
_COMMANDS = (
    Check, Inoculate, Controls, Fit, Derive, Compare, Sweep, Diff, Elephants, Generate, Compose, Export,
    Import, Score, Topics, Point, Basin, Translate, Dipoles,
)  # fmt: skip


def build(arguments: Sequence[str]) -> typer.Typer:
    """The command line.

    Args:
        arguments: What will be parsed; it decides which control's flags there are.

    Raises:
        UserError: A control is named that does not exist.
    """
    app = typer.Typer(
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
        help="Steer a language model from a statement and its opposite, and see what changed.",
    )
    app.callback()(_root)
    for made in _COMMANDS:
        name = made.__name__.lower()
        app.command(name)(command(made, fields_for(name, arguments)))
    return app


def fields_for(command: str, arguments: Sequence[str]) -> tuple[Option, ...]:
    """The fields of the control that a command fits; none where another command runs, or no control is named.

    Args:
        command: Name of one; only `fit`, `derive` and `inoculate` have them.
        arguments: The command line. The flags of a control are made from its dataclass, whose module imports
            torch, so only where the command is one that has them.

    Raises:
        UserError: There is no control of that name.
    """
    if next((argument for argument in arguments if not argument.startswith("-")), "") != command:
        return ()
    if command not in ("fit", "derive", "inoculate"):
        return ()
    rest = arguments[list(arguments).index(command) + 1 :]
    name = _trained_in(rest) if command == "inoculate" else _control_in(rest)
    if name is None:
        return ()
    made = resolve(CONTROLS, name)
    if command == "inoculate":
        from dipole.evaluation.inoculate import require_trained

        require_trained(made)
    return options(made)


def _trained_in(arguments: Sequence[str]) -> str:
    """The value of `--control`, the last one counting, or what it is when left out."""
    pairs = zip(arguments, (*arguments[1:], ""), strict=False)
    found = [a.partition("=")[2] or after for a, after in pairs if a.partition("=")[0] == "--control"]
    return found[-1] if found and found[-1] else TRAINED


def _control_in(arguments: Sequence[str]) -> str | None:
    """The argument that names the control: it is no flag, and not the value of one."""
    alone = switches(Fit)
    pairs = zip(("", *arguments), arguments, strict=False)
    free = [
        a
        for before, a in pairs
        if not a.startswith("-")
        and (before in alone or not before.startswith("-") or "=" in before or before.startswith("--no-"))
    ]
    # Behind a control's own switch, --detach-value for instance, it looks like the value of a flag.
    known = [a for a in arguments if plain(a) in CONTROLS]
    return next(iter((*free, *known)), None)


def _version(wanted: bool) -> None:
    if wanted:
        try:
            emit(f"dipole {metadata.version('dipole')}")
        except metadata.PackageNotFoundError:
            emit("dipole (not installed)")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    del version  # its callback has done the work
