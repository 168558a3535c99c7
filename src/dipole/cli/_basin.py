"""A basin that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from dipole.cli._console import columns, emit, emit_json, one_line, tell
from dipole.cli._groups import output_folder
from dipole.cli._pointing import folder_of, topic_of
from dipole.cli._progress import progress

if TYPE_CHECKING:
    from dipole.basin import Basin
    from dipole.pointing.runners import Runner


def perform(flags: Mapping[str, Any]) -> None:
    """Measure, save and print the shares."""
    folder = output_folder(flags["out"], flags["overwrite"], reads=[folder_of(flags["topic"])])
    from dipole.basin import find_basin
    from dipole.corpora.corpus import open_corpus, read_labels
    from dipole.pointing.basin import Grid

    methods = tuple(dict.fromkeys(name.strip() for name in flags["method"].split(",") if name.strip()))
    grid = Grid(cast("tuple[Runner, ...]", methods), flags["grid"], flags["seeds"], seed=flags["seed"])
    corpus = open_corpus(flags["corpus"], flags["words_per_document"])
    truth = read_labels(flags["truth"])
    flavour = None if flags["flavour"] is None else read_labels(flags["flavour"])
    pointer = topic_of(flags["topic"])
    with progress(flags["quiet"]) as show:
        found = find_basin(
            flags["source"].load(),
            pointer,
            corpus,
            truth,
            folder,
            grid,
            flavour=flavour,
            layers=flags["layers"],
            most_documents=flags["documents"],
            overwrite=flags["overwrite"],
            on_step=show,
            on_start=lambda done, of: show("start", done, of),
        )
    for note in found.notes:
        tell(f"dipole: note: {note}")
    if flags["json"]:
        _emit_records(found)
    else:
        _print(found)
    if not flags["quiet"]:
        tell(f"dipole: look at {one_line(str(folder))}/basin.html")


def _emit_records(found: Basin) -> None:
    from dipole.pointing.basin import summary

    for row in summary(found.ends):
        emit_json(row)


def _print(found: Basin) -> None:
    from dipole.report.basin import in_words, shown_rows

    rows = shown_rows(found.ends)
    header = ("method", "errors", "starts", "come to it", "mean F1", "rounds")
    lines = columns(header, [row[:6] for row in rows])
    ends = ("the others end at", *(row[6] for row in rows))
    emit("\n".join(f"{line}  {end}".rstrip() for line, end in zip(lines, ends, strict=True)))
    emit("\n" + in_words(found.ends))
