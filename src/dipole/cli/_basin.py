"""A basin that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._groups import output_folder
from dipole.cli._pointing import folder_of, topic_of
from dipole.cli._progress import progress
from dipole.shown.terminal import one_line

if TYPE_CHECKING:
    from dipole.pointing.basin import Basin
    from dipole.pointing.runners import Runner


def perform(flags: Mapping[str, Any]) -> None:
    """Measure, save and print the shares."""
    folder = output_folder(flags["out"], flags["overwrite"], reads=[folder_of(flags["topic"])])
    from dipole.corpora.corpus import open_corpus, read_labels
    from dipole.pointing.basin import basin
    from dipole.pointing.grid import Grid
    from dipole.runs import keeping

    methods = tuple(dict.fromkeys(name.strip() for name in flags["method"].split(",") if name.strip()))
    grid = Grid(cast("tuple[Runner, ...]", methods), flags["grid"], flags["seeds"], seed=flags["seed"])
    corpus = open_corpus(flags["corpus"], flags["words_per_document"])
    truth = read_labels(flags["truth"])
    flavour = None if flags["flavour"] is None else read_labels(flags["flavour"])
    pointer = topic_of(flags["topic"])
    lm = flags["source"].load()
    with progress(flags["quiet"]) as show, keeping(folder, flags["overwrite"]) as keep:
        found = basin(
            lm,
            pointer,
            corpus,
            truth,
            grid,
            flavour=flavour,
            layers=flags["layers"],
            most_documents=flags["documents"],
            on_step=show,
            on_start=lambda done, of: show("start", done, of),
        )
        keep(found)
    for note in found.notes:
        tell(f"dipole: note: {note}")
    if flags["json"]:
        _emit_records(found)
    else:
        emit(str(found))
    if not flags["quiet"]:
        tell(f"dipole: look at {one_line(str(folder))}/basin.html")


def _emit_records(found: Basin) -> None:
    from dipole.pointing.grid import summary

    for row in summary(found.ends):
        emit_json(row)
