"""The public names that the records are made with. One that moves is changed here and nowhere else."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from dipole import (
    Dipole,
    basin,
    compare,
    compare_controls,
    fit,
    load,
    load_intervention,
    point,
    save,
    sweep,
    topics,
    translate,
)
from dipole.cli import run
from dipole.concepts import load_arsenal, load_dipole
from dipole.corpora.corpus import open_corpus, read_labels
from dipole.evaluation.families import comparison_to_dict
from dipole.evaluation.serialise import effect_to_dict
from dipole.lm import LM
from dipole.microworld.cells import write_cells
from dipole.pointing.grid import Grid
from dipole.pointing.record import Settings as Pointing
from dipole.protocols import Intervention
from dipole.recognizers import NLI, TopicModel, TopicScore
from dipole.recognizers.fitted import load_fitted
from dipole.recognizers.lda import Settings as LDA
from dipole.registry import CONTROLS, RECOGNIZERS, make_recognizer, resolve
from dipole.runs import inoculate_in
from dipole.stitching.translate import Translation
from dipole.types import UserError

__all__ = [
    "CONTROLS",
    "LDA",
    "LM",
    "NLI",
    "RECOGNIZERS",
    "Dipole",
    "Grid",
    "Intervention",
    "Pointing",
    "TopicModel",
    "TopicScore",
    "Translation",
    "UserError",
    "basin",
    "command",
    "compare",
    "compare_controls",
    "comparison_to_dict",
    "effect_to_dict",
    "fit",
    "inoculate_in",
    "lm",
    "load_arsenal",
    "load_dipole",
    "load_fitted",
    "load_intervention",
    "make_control",
    "make_recognizer",
    "open_corpus",
    "point",
    "read_labels",
    "resolve",
    "save",
    "sweep",
    "topics",
    "translate",
    "write_cells",
]


@cache
def lm(name: str) -> LM:
    """A bundled LM."""
    return load(name, device="cpu")


def make_control(name: str, fields: Mapping[str, Any]) -> Any:
    """The control of that name."""
    return resolve(CONTROLS, name)(**fields)


def command(arguments: Sequence[object]) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command, run in this process."""
    err = io.StringIO()
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    before = sys.stdin
    sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = run([str(argument) for argument in arguments])
    finally:
        sys.stdin = before
    data: bytes = out.buffer.getvalue()  # type: ignore[attr-defined]
    return code, data.decode("utf-8"), err.getvalue()
