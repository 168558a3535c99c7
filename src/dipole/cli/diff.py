"""`dipole diff`: what changed between two logs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from dipole.cli._groups import Output


@dataclass(frozen=True, kw_only=True)
class Diff:
    """Compare two logs of the same items: what changed, how sure that is, and how many items would show more.

    Logs are what lm-evaluation-harness writes with --log_samples (a samples_….jsonl or its folder), logs of
    Inspect (.eval or .json), folders of `dipole inoculate`, and rows (.jsonl, .csv) with an `id` and numbers.

    Attributes:
        before: The log before.
        after: The log after.
        metric: What to compare. May be repeated. [default: all that both have]
        task: Likewise. May be repeated. [default: all that both have]
        cluster: Where an item says what it belongs to, such as the passage of several questions: a column,
            or a dotted path in an item's `doc` or `metadata`.
        effect: A difference that would matter, such as 0.02 of an accuracy; how many items it takes is told.
        out: Folder for the page and every number.
    """

    before: Annotated[str, typer.Argument(metavar="BEFORE")]
    after: Annotated[str, typer.Argument(metavar="AFTER")]
    metric: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None
    task: Annotated[list[str] | None, typer.Option(metavar="NAME")] = None
    cluster: str = ""
    effect: float | None = None
    out: str | None = None
    output: Output

    def run(self) -> None:
        """Read, compare, keep and print."""
        folder = None if self.out is None else self.output.folder(self.out)
        from dipole.evaluation.diff import diff

        with self.output.working(folder) as (_, keep):
            found = diff(
                self.before,
                self.after,
                tuple(self.metric or ()),
                tuple(self.task or ()),
                self.cluster,
                self.effect,
            )
            keep(found)
        self.output.show(found, found.to_dict())
        if folder is not None:
            self.output.say(f"the page is {folder / 'diff.html'}, every number is in {folder / 'diff.json'}")
