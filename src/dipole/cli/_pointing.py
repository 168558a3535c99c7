"""Pointing that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._groups import output_folder
from dipole.cli._progress import progress
from dipole.shown.terminal import one_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.recognizers.topic import TopicScore


def perform(flags: Mapping[str, Any]) -> None:
    """Point, save and print what was found."""
    folder = output_folder(flags["out"], flags["overwrite"], reads=[folder_of(flags["topic"])])
    from dipole.corpora.corpus import open_corpus, read_labels
    from dipole.pointing.point import point
    from dipole.pointing.record import Settings
    from dipole.runs import keeping

    if flags["flavour"] is not None and flags["truth"] is None:
        raise UserError("--flavour splits what is measured by the truth; give --truth too, or leave it out.")
    settings = Settings(
        method=flags["method"],
        steer=flags["steer"],
        layers=flags["layers"],
        n=flags["n"],
        max_new_tokens=flags["max_new_tokens"],
        seed=flags["seed"],
    )
    corpus = open_corpus(flags["corpus"], flags["words_per_document"])
    truth, flavour = (
        None if flags[name] is None else read_labels(flags[name]) for name in ("truth", "flavour")
    )
    pointer = topic_of(flags["topic"])
    lm = flags["source"].load()
    with progress(flags["quiet"]) as show, keeping(folder, flags["overwrite"]) as keep:
        pointed = point(
            lm,
            pointer,
            corpus,
            settings,
            prompts=flags["prompt"] or (),
            truth=truth,
            flavour=flavour,
            on_step=show,
        )
        keep(pointed)
    for note in pointed.notes:
        tell(f"dipole: note: {note}")
    if flags["json"]:
        record = pointed.to_dict()
        for written in record["written"]:
            written.pop("texts")
        emit_json(record)
    else:
        emit(str(pointed))
    if not flags["quiet"]:
        where = one_line(str(folder))
        tell(f"dipole: look at {where}/report.html; use it with --intervention {where}:1.0")


def folder_of(spec: str) -> str:
    """The folder of a topic, which the command must not replace."""
    from dipole.recognizers.fitted import split

    return str(split(spec)[0])


def topic_of(spec: str) -> TopicScore:
    """The topic that was named.

    Raises:
        UserError: There is none of that name, or it is another kind of recognizer.
    """
    from dipole.recognizers.fitted import load_fitted, split
    from dipole.recognizers.topic import TopicScore

    folder, _ = split(spec)
    if not spec.strip() or not folder.is_dir():
        raise UserError(
            f"There is no folder {str(folder)!r}; give a topic such as topics:3, of a folder that "
            "`dipole topics` made."
        )

    def no_model(_name: str) -> Any:
        raise UserError(
            f"{spec} is a notion already; give a topic such as topics:3, that `dipole topics` made."
        )

    found = load_fitted(spec, no_model)
    if not isinstance(found, TopicScore):
        raise UserError(
            f"{spec} is no topic; give one such as topics:3, of a folder that `dipole topics` made."
        )
    return found
