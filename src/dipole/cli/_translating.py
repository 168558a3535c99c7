"""Doing a translation that was asked for on the command line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.cli._concept import dipole_from
from dipole.cli._console import emit, emit_json, tell
from dipole.cli._groups import Wanted, output_folder
from dipole.cli._named import base_of, loaded_vector
from dipole.cli._progress import Progress, progress
from dipole.shown.terminal import one_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.concepts import Dipole
    from dipole.lm import LM
    from dipole.stitching.translate import Translated


def perform(flags: Mapping[str, Any]) -> None:
    """Translate, save and print what came through."""
    folder = output_folder(flags["out"], flags["overwrite"], reads=[flags["vector"]])
    made = _translated(flags, folder)
    if flags["json"]:
        emit_json({"out": str(folder), "layer": made.vector.layers[0], **made.facts})
    else:
        emit(f"{one_line(str(folder))}: {made}")
    if not flags["quiet"]:
        tell(f"dipole: use it with --intervention {one_line(str(folder))}; see report.html there")


def _translated(flags: Mapping[str, Any], folder: Path) -> Translated:
    from dipole.corpora.corpus import open_corpus
    from dipole.runs import keeping
    from dipole.stitching.translate import Translation, translate

    settings = Translation(
        flags["layers"],
        flags["near"],
        flags["max_tokens"],
        flags["batch_size"],
        flags["n"],
        seed=flags["seed"],
    )
    corpus = open_corpus(flags["corpus"], flags["words_per_document"])
    dipole = _dipole(flags)
    vector = loaded_vector(flags["vector"], "be translated")
    source = _model(flags["from_"] or base_of([(vector, flags["vector"])]), "--from", flags)
    target = _model(flags["to"], "--to", flags)
    with progress(flags["quiet"]) as show, keeping(folder, flags["overwrite"]) as keep:
        made = translate(
            vector, source, target, corpus, flags["prompt"] or (), dipole, settings, _steps(show),
            str(flags["corpus"]),
        )  # fmt: skip
        keep(made)
    for skipped in corpus.skipped[:5]:
        tell(f"dipole: {skipped.name} was left out: {skipped.reason}")
    return made


def _dipole(flags: Mapping[str, Any]) -> Dipole | None:
    poles = flags["poles"]
    return dipole_from(Wanted(**vars(poles)), flags["to"], need_prompts=False) if poles.given else None


def _model(name: str | None, flag: str, flags: Mapping[str, Any]) -> LM:
    if name is None:
        raise UserError(f"Nothing tells which model the vector was made for; name it with {flag}.")
    lm: LM = flags["source"].load(name)
    return lm


def _steps(show: Progress) -> Callable[[int, str], None]:
    return lambda done, what: show(what, note=f"{done:,} documents" if done else "")
