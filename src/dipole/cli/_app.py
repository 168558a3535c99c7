"""The commands, put together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from dipole.cli._console import emit
from dipole.cli._control import fields_for
from dipole.cli._flags import command
from dipole.cli.basin import Basin
from dipole.cli.compare import Compare
from dipole.cli.compose import Compose
from dipole.cli.controls import Controls
from dipole.cli.dipoles import Dipoles
from dipole.cli.fit import Fit
from dipole.cli.generate import Generate
from dipole.cli.gguf import Export, Import
from dipole.cli.inoculate import Inoculate
from dipole.cli.point import Point
from dipole.cli.score import Score
from dipole.cli.sweep import Sweep
from dipole.cli.topics import Topics
from dipole.cli.translate import Translate

# In the order that `--help` has them.
_COMMANDS = (
    Inoculate, Controls, Fit, Compare, Sweep, Generate, Compose, Export, Import,
    Score, Topics, Point, Basin, Translate, Dipoles,
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
