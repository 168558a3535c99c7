"""Doing a comparison or a sweep that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

from dipole.cli._console import emit_json, tell
from dipole.cli._entries import entries_from, require_fitting
from dipole.cli._flags import load_model, source_of
from dipole.cli._job import bystanders_from
from dipole.cli._numbers import require_number
from dipole.cli._output import output_folder
from dipole.cli._progress import steps
from dipole.cli._rich import emit_drawn
from dipole.cli._strengths import strengths_from
from dipole.cli._wordings import dipole_from
from dipole.shown.terminal import one_line

if TYPE_CHECKING:
    from dipole.evaluation.families import Comparison

Measure = Callable[..., "Comparison"]


def perform(flags: Mapping[str, Any], names: list[str], measure: Measure, **options: Any) -> None:
    """Fit, measure, write and print.

    Args:
        flags: The flags of the command.
        names: Controls and folders.
        measure: Called with the LM, the dipole, the entries and the options.
        options: What only one of the commands has.
    """
    from dipole.runs import keeping

    require_number("--seed", flags["seed"])
    out = flags["out"]
    folder = None if out is None else output_folder(out, flags["overwrite"])
    if flags["strengths"] is not None:
        options["strengths"] = strengths_from(flags["strengths"], flags.get("steps"))
    entries, base = entries_from(names)
    flags = {**flags, "model": flags["model"] or base or "tiny"}
    dipole, watched = dipole_from(flags), bystanders_from(flags["bystanders"], flags["model"])
    lm = load_model(*source_of(flags))
    require_fitting(lm, entries)
    taken = ("n", "seed", "repeats", "max_new_tokens", "batch_size")
    options |= {"bystanders": watched, **{name: flags[name] for name in taken}}
    with keeping(folder, flags["overwrite"]) if folder else nullcontext() as keep:
        found = measure(lm, dipole, entries, on_step=steps(flags["quiet"]), **options)
        if keep is not None:
            keep(found)
    _print(found, flags["json"])
    if folder is not None and not flags["quiet"]:
        tell(f"dipole: the report is {one_line(str(folder / 'report.html'))}")


def _print(found: Comparison, as_json: bool) -> None:
    if as_json:
        from dipole.evaluation.families import comparison_to_dict

        return emit_json(comparison_to_dict(found))
    from dipole.report.comparison import comparison_summary

    emit_drawn(partial(comparison_summary, found))
