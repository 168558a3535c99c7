"""Doing a translation that was asked for on the command line."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.cli._console import emit, emit_json, tell
from dipole.cli._flags import load_model, where_of
from dipole.cli._interventions import base_of, loaded
from dipole.cli._output import output_folder
from dipole.cli._wordings import dipole_from
from dipole.shown.terminal import one_line
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.concepts import Dipole
    from dipole.interventions.activations import SteeringVector
    from dipole.lm import LM
    from dipole.stitching.translate import Translated

_EVERY = 15.0  # seconds between lines of progress


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
    vector = _vector(flags["vector"])
    source = _model(flags["from_"] or base_of([(vector, flags["vector"])]), "--from", flags)
    target = _model(flags["to"], "--to", flags)
    with keeping(folder, flags["overwrite"]) as keep:
        made = translate(
            vector, source, target, corpus, flags["prompt"] or (), dipole, settings, _steps(flags["quiet"]),
            str(flags["corpus"]),
        )  # fmt: skip
        for skipped in corpus.skipped[:5]:
            tell(f"dipole: {skipped.name} was left out: {skipped.reason}")
        return keep(made)


def _dipole(flags: Mapping[str, Any]) -> Dipole | None:
    if all(flags[name] is None for name in ("dipole", "claim", "against")):
        return None
    wanted = {**flags, "held_out": None, "prompt": None, "model": flags["to"]}
    return dipole_from(wanted, need_prompts=False)


def _vector(folder: str) -> SteeringVector:
    from dipole.interventions.activations import SteeringVector

    found = loaded(folder)
    if not isinstance(found, SteeringVector):
        raise UserError(
            f"{folder} holds a {found.kind}, which works on the {found.surface} surface; only a steering "
            "vector can be translated: fit one with `dipole fit vector`."
        )
    return found


def _model(name: str | None, flag: str, flags: Mapping[str, Any]) -> LM:
    if name is None:
        raise UserError(f"Nothing tells which model the vector was made for; name it with {flag}.")
    return load_model(name, None, *where_of(flags))


def _steps(quiet: bool) -> Callable[[int, str], None] | None:
    """Progress on standard error: what is being done, and every few seconds how far it is."""
    last: dict[str, Any] = {"what": "", "at": 0.0}

    def on_step(done: int, what: str) -> None:
        now = time.monotonic()
        if what != last["what"] or now - last["at"] > _EVERY:
            last.update(what=what, at=now)
            tell(f"{what}{f', {done:,} documents' if done else ''} …")

    return None if quiet else on_step
