"""A record of what the commands print and leave behind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from golden import _api, corpora, plain
from golden.controls import DIPOLE, READ, TRAINED
from golden.recognizers import TEXTS
from golden.table import EMBEDDING, Case
from golden.verbs import FITTED

Arguments = tuple[object, ...]
POLES: Arguments = ("--claim", DIPOLE.claim, "--against", DIPOLE.against)
ON: Arguments = (*POLES, "--prompt", DIPOLE.prompts[0], "--prompt", DIPOLE.prompts[1])
FEW: Arguments = ("-n", 4, "--max-new-tokens", 8)
WORDS: Arguments = ("fit", "boost", *ON, "--weights", "2", "--n", 4, "--max-new-tokens", 8)


def _run(place: Path, *arguments: object) -> dict[str, Any]:
    """Exit code and what was printed: JSON line by line where all of it is."""
    code, out, err = _api.command(arguments)
    if code:
        return {"code": code, "error": plain.plain(err, place)}
    lines = [line for line in out.splitlines() if line]
    if lines and all(line.startswith("{") for line in lines):
        return {"code": code, "json": [plain.plain(json.loads(line), place) for line in lines]}
    return {"code": code, "text": plain.plain(out.splitlines(), place)}


def _one(arguments: Arguments, place: Path) -> Any:
    return _run(place, *arguments)


def _fit(place: Path) -> Any:
    """Fit, then write, export, import and compose with it."""
    out, gguf = place / "words", place / "vector.gguf"
    vector = ("fit", "vector", *ON, "--layers", "1", "--scales", "0.3", "--n", 4, "--max-new-tokens", 8)
    write = ("generate", DIPOLE.held_out[0], "-n", 2, "--max-new-tokens", 8, "--seed", 3)
    return {
        "fit": _run(place, *WORDS, "--out", out, "--json", "-q"),
        "folder": plain.folder(out, place),
        "generate": _run(place, *write, "--intervention", f"{out}:-0.5", "--json"),
        "fit vector": _run(place, *vector, "--out", place / "vector", "--json", "-q"),
        "both": _run(place, *write, "--intervention", out, "--intervention", place / "vector", "--json"),
        "compose": _run(
            place,
            "compose",
            "--intervention",
            f"{out}:0.5",
            "--intervention",
            place / "vector",
            "--out",
            place / "lm",
            "--json",
        ),
        "composed": _run(place, *write, "--model", place / "lm"),
        "export": _run(place, "export", place / "vector", "--gguf", gguf, "--json"),
        "import": _run(place, "import", gguf, "--out", place / "again", "--json"),
    }


def _sweep(place: Path) -> Any:
    fitted = _run(place, *WORDS, "--out", place / "words", "--json", "-q")
    sweep = ("sweep", place / "words", *ON, *FEW, "--strengths", "-0.5,1", "--json", "-q")
    return {"fit": fitted["code"], "sweep": _run(place, *sweep)}


def _compare(place: Path) -> Any:
    fitted = _run(place, *WORDS, "--model", "mini", "--out", place / "words", "--json", "-q")
    few = ("-n", 3, "--max-new-tokens", 6, "--bystanders", "none", "--strengths", "1", "--no-null")
    found = _run(place, "compare", place / "words", *ON, *few, "--out", place / "out", "--json", "-q")
    return {"fit": fitted["code"], "compare": found, "files": plain.folder(place / "out", place)["files"]}


def _inoculate(place: Path) -> Any:
    few = (
        "--control",
        "ppo",
        "--rounds",
        1,
        "--batch-size",
        8,
        "--ppo-epochs",
        1,
        "--max-new-tokens",
        6,
        "-n",
        4,
    )
    arguments = (
        "inoculate",
        *ON[1:],
        "--control",
        "ppo",
        *few,
        "--bystanders",
        "none",
        "--model",
        "mini",
        "--out",
        place / "out",
    )
    found = _run(place, *arguments, "--json", "-q")
    return {"inoculate": found, "folder": plain.folder(place / "out", place, found["json"][0])}


def _pointing(place: Path) -> Any:
    """Topics of the stories, texts scored by one, pointed by it, and its basin."""
    stories = corpora.stories(place)
    corpus, truth = stories / "docs.jsonl", stories / "truth.csv"
    topics, topic = place / "topics", f"{place / 'topics'}:1"
    fast = ("--topics", 2, "--iterations", 6, "--restarts", 1, "--find", "thief, police")
    common = ("--corpus", corpus, "--truth", truth, "--model", "mini", "--layers", "1", "--json", "-q")
    few = ("-n", 2, "--max-new-tokens", 6)
    small = ("--method", "mixture", "--grid", 2, "--seeds", 1)
    return {
        "topics": _run(place, "topics", corpus, *fast, "--out", topics, "--json", "-q"),
        "score": _run(place, "score", "--recognizer", topic, *TEXTS, "--json"),
        "point": _run(place, "point", topic, *common, *few, "--out", place / "notion"),
        "basin": _run(place, "basin", topic, *common, *small, "--out", place / "basin"),
    }


def _translate(place: Path) -> Any:
    corpus = corpora.stories(place) / "docs.jsonl"
    vector = ("fit", "vector", *ON, "--layers", "1", "--scales", "0.3", "--n", 4, "--max-new-tokens", 8)
    fitted = _run(place, *vector, "--out", place / "vector", "--json", "-q")
    found = _run(
        place, "translate", place / "vector", "--to", "mini", "--corpus", corpus, "--layers", "1",
        "--out", place / "out", "--json", "-q",
    )  # fmt: skip
    return {"fit": fitted["code"], "translate": found}


_SCORED: Arguments = (*POLES, *TEXTS, "--json")
_WRITTEN: Arguments = ("generate", *DIPOLE.held_out, "-n", 2, "--max-new-tokens", 8, "--seed", 5)
_TOP: Arguments = ("--temperature", 0.7, "--top-k", 20, "--top-p", 0.9)

_ALONE: Mapping[str, Arguments] = {
    "controls": ("controls", "--json"),
    "dipoles": ("dipoles",),
    "dipoles-one": ("dipoles", "paper_clips"),
    "dipoles-one-json": ("dipoles", "tea", "--json"),
    "score": ("score", *_SCORED),
    "score-corrected": ("score", *_SCORED, "--model", "mini", "--prior-correction"),
    "score-text": ("score", *POLES, *TEXTS),
    "generate": (*_WRITTEN, "--json"),
    "generate-text": (*_WRITTEN, *_TOP, "--model", "mini"),
}

CASES: Mapping[str, Case] = {
    **{f"command-{name}": Case(partial(_one, arguments), READ) for name, arguments in _ALONE.items()},
    "command-score-embedding": Case(
        partial(_one, ("score", *_SCORED, "--recognizer", "embedding")), READ, EMBEDDING
    ),
    "command-fit": Case(_fit, READ, ("gguf",)),
    "command-sweep": Case(_sweep, READ, EMBEDDING),
    "command-compare": Case(_compare, READ, EMBEDDING),
    "command-inoculate": Case(_inoculate, TRAINED, EMBEDDING),
    "command-pointing": Case(_pointing, FITTED),
    "command-translate": Case(_translate, FITTED),
}
