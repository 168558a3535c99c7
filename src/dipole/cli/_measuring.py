"""Flags of the commands that measure."""

from __future__ import annotations

from typing import Annotated

import typer

ReportFolder = Annotated[str | None, typer.Option("--out", help="Folder for the report and every number.")]
Completions = Annotated[int, typer.Option("-n", min=1, help="Completions to measure, at each strength.")]
Repeats = Annotated[int, typer.Option("--repeats", min=1, help="Fits and measurements, with other seeds.")]
Seed = Annotated[int, typer.Option("--seed", help="The same seed gives the same completions.")]
MaxNewTokens = Annotated[int, typer.Option("--max-new-tokens", min=1, help="Token budget of a completion.")]
Meters = Annotated[
    list[str] | None,
    typer.Option("--meter", metavar="NAME", help="What else to measure. May be repeated."),
]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Rows a forward.")]
