"""Pointing that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipole.cli._console import columns, emit, emit_json, one_line, tell
from dipole.cli._groups import output_folder
from dipole.cli._progress import progress
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.pointing.record import Pointed
    from dipole.recognizers.topic import TopicScore


def perform(flags: Mapping[str, Any]) -> None:
    """Point, save and print what was found."""
    folder = output_folder(flags["out"], flags["overwrite"], reads=[folder_of(flags["topic"])])
    from dipole.corpora.corpus import open_corpus, read_labels
    from dipole.point import point
    from dipole.pointing.record import Settings
    from dipole.report.pointed import verdict

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
    with progress(flags["quiet"]) as show:
        pointed = point(
            lm,
            pointer,
            corpus,
            folder,
            settings,
            prompts=flags["prompt"] or (),
            truth=truth,
            flavour=flavour,
            overwrite=flags["overwrite"],
            on_step=show,
        )
    for note in pointed.notes:
        tell(f"dipole: note: {note}")
    if flags["json"]:
        record = pointed.to_dict()
        for written in record["written"]:
            written.pop("texts")
        emit_json(record)
    else:
        _print(pointed, verdict(pointed))
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


def _print(pointed: Pointed, said: str) -> None:
    if pointed.readings:
        rows = [
            [
                reading.name,
                *(f"{100 * v:.1f}%" for v in (reading.precision, reading.recall)),
                f"{reading.f1.mean:.3f}",
                f"{reading.auc:.3f}",
            ]
            for reading in pointed.readings
        ]
        emit("\n".join([*columns(("notion", "precision", "recall", "F1", "AUC"), rows), ""]))
    if pointed.written:
        header = ("written", "own notion", "topic model", "excess", "perplexity", "distinct-2")
        rows = [
            [w.name, f"{100 * w.refined.mean:.1f}%", f"{100 * w.weak.mean:.1f}%",
             f"{100 * w.excess.mean:+.1f} [{100 * w.excess.low:+.0f}, {100 * w.excess.high:+.0f}]",
             f"{w.perplexity_ratio:.2f}", f"{w.distinct_2:.2f}"]
            for w in pointed.written
        ]  # fmt: skip
        emit("\n".join([*columns(header, rows), ""]))
    emit(said)
