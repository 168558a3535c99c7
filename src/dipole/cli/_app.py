"""The commands, put together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from dipole.cli import dipoles, generate, inoculate, score
from dipole.cli._console import emit
from dipole.cli._fields import with_fields
from dipole.registry import CONTROLS, options, resolve

_CONTROL = "ppo"


def build(arguments: Sequence[str]) -> typer.Typer:
    """The command line.

    Args:
        arguments: What will be parsed: the flags of a control are made from its dataclass, whose module
            imports torch, so only where the command is the one that has them.
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
    fields = options(resolve(CONTROLS, _CONTROL)) if "inoculate" in arguments else ()
    app.command("inoculate")(with_fields(inoculate.inoculate, fields))
    app.command("score")(score.score)
    app.command("generate")(generate.generate)
    app.command("dipoles")(dipoles.dipoles)
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
