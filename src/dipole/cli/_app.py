"""The commands, put together."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from dipole.cli import (
    basin,
    compare,
    compose,
    controls,
    dipoles,
    export,
    fit,
    generate,
    import_,
    inoculate,
    point,
    score,
    sweep,
    topics,
    translate,
)
from dipole.cli._console import emit
from dipole.cli._control import fields_for
from dipole.cli._fields import with_fields


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
    app.command("inoculate")(with_fields(inoculate.inoculate, fields_for("inoculate", arguments)))
    app.command("controls")(controls.controls)
    app.command("fit")(with_fields(fit.fit, fields_for("fit", arguments)))
    app.command("compare")(compare.compare)
    app.command("sweep")(sweep.sweep)
    app.command("generate")(generate.generate)
    app.command("compose")(compose.compose)
    app.command("export")(export.export)
    app.command("import")(import_.import_)
    app.command("score")(score.score)
    app.command("topics")(topics.topics)
    app.command("point")(point.point)
    app.command("basin")(basin.basin)
    app.command("translate")(translate.translate)
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
