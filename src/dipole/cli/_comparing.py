"""Doing a comparison or a sweep that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
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
from dipole.files import staged, write_manifest
from dipole.shown.terminal import one_line

if TYPE_CHECKING:
    from dipole.evaluation.families import Comparison
    from dipole.lm import LM

Measure = Callable[..., "Comparison"]


def perform(flags: Mapping[str, Any], names: list[str], measure: Measure, **options: Any) -> None:
    """Fit, measure, write and print.

    Args:
        flags: The flags of the command.
        names: Controls and folders.
        measure: Called with the LM, the dipole, the entries and the options.
        options: What only one of the commands has.
    """
    require_number("--seed", flags["seed"])
    out = flags["out"]
    folder = None if out is None else output_folder(out, flags["overwrite"])
    if flags["strengths"] is not None:
        options["strengths"] = strengths_from(flags["strengths"], flags.get("steps"))
    entries, base = entries_from(names)
    flags = {**flags, "model": flags["model"] or base or "tiny"}
    dipole, watched = dipole_from(flags), bystanders_from(flags["bystanders"], flags["model"])
    lm, started = load_model(*source_of(flags)), datetime.now(UTC)
    require_fitting(lm, entries)
    taken = ("n", "seed", "repeats", "max_new_tokens", "batch_size")
    options |= {"bystanders": watched, **{name: flags[name] for name in taken}}
    with staged(folder, flags["overwrite"]) if folder else nullcontext() as made:
        found = measure(lm, dipole, entries, on_step=steps(flags["quiet"]), **options)
        if made is not None:
            _write(made, folder, lm, found, started)
    _print(found, flags["json"])
    if folder is not None and not flags["quiet"]:
        tell(f"dipole: the report is {one_line(str(folder / 'report.html'))}")


def _write(made: Path, folder: Path | None, lm: LM, found: Comparison, started: datetime) -> None:
    from dipole.report.comparison import comparison_facts, write_comparison

    facts = comparison_facts(lm, found, started=started, finished=datetime.now(UTC), out=str(folder))
    write_comparison(made, found, facts)
    write_manifest(made, facts)


def _print(found: Comparison, as_json: bool) -> None:
    if as_json:
        from dipole.evaluation.families import comparison_to_dict

        return emit_json(comparison_to_dict(found))
    from dipole.report.comparison import comparison_summary

    emit_drawn(partial(comparison_summary, found))
