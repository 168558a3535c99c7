"""From what dipole returns and writes to plain JSON that is the same on every machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

FIRST = 6
# Numbers that somebody chose are kept as texts, which are compared exactly.
_CHOSEN = frozenset({"fields", "settings", "grid", "concept", "strengths"})
_MOST_TENSORS = 100
# What differs between machines, moments and places; a path inside a text is replaced by `<tmp>`.
_LEFT_OUT = frozenset(
    {
        "started",
        "finished",
        "seconds",
        "machine",
        "versions",
        "command",
        "out",
        "fit_seconds",
        "time_ratios",
        "bytes",
    }
)
_EVENTS = "tensorboard"  # a folder whose files are called by the time


def plain(value: Any, place: Path | None = None) -> Any:
    """Plain data without times and places, with 7 digits of each number."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, place)
    if hasattr(value, "_asdict"):
        return plain(value._asdict(), place)
    if isinstance(value, Mapping):
        kept = {str(key): item for key, item in value.items() if key not in _LEFT_OUT}
        return {
            plain(key, place): plain(_as_texts(item) if key in _CHOSEN else item, place)
            for key, item in kept.items()
        }
    if isinstance(value, str):
        return value if place is None else value.replace(str(place), "<tmp>")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float | np.floating):
        number = float(value)
        return float(f"{number:.7g}") if math.isfinite(number) else str(number)
    if isinstance(value, Path):
        return plain(str(value), place)
    if isinstance(value, Sequence | frozenset | set):
        items = sorted(value) if isinstance(value, frozenset | set) else value
        return [plain(item, place) for item in items]
    raise TypeError(f"a record holds no {type(value).__name__}")


def _as_texts(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_texts(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_as_texts(item) for item in value]
    return repr(value) if isinstance(value, float) else value


def tensors(file: Path) -> dict[str, Any]:
    """Shape, type, size, and first numbers of every tensor of a safetensors file; of very many, the sum.

    Numbers are in units of the tensor's own root mean square, so that small ones count as large ones do.
    """
    found: dict[str, Any] = {}
    loaded = sorted(load_file(file).items())
    if len(loaded) > _MOST_TENSORS:
        names = " ".join(f"{name}{array.shape}{array.dtype}" for name, array in loaded)
        squares = sum(float(np.square(array.astype(np.float64)).sum()) for _, array in loaded)
        hashed = hashlib.sha256(names.encode()).hexdigest()
        return {"tensors": len(loaded), "names": hashed, "log_norm": plain(_log(math.sqrt(squares)))}
    for name, array in loaded:
        numbers = array.astype(np.float64).ravel()
        size = math.sqrt(float(np.square(numbers).mean()))
        found[name] = {
            "shape": list(array.shape),
            "dtype": str(array.dtype),
            "log_rms": plain(_log(size)),
            "mean": plain(float(numbers.mean()) / (size or 1.0)),
            "first": [plain(float(x) / (size or 1.0)) for x in numbers[:FIRST]],
        }
    return found


def _log(size: float) -> float | None:
    return math.log(size) if size > 0 else None


def folder(place: Path, root: Path, returned: Any = None) -> dict[str, Any]:
    """Names of all files of a folder, and what its JSON and tensors say, where that was not returned too."""
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.parent.name != _EVENTS)
    found: dict[str, Any] = {"files": [path.relative_to(place).as_posix() for path in files]}
    for path in files:
        name = path.relative_to(place).as_posix()
        if path.suffix == ".safetensors":
            found[name] = tensors(path)
        elif path.suffix == ".json":
            read = plain(json.loads(path.read_text("utf-8")), root)
            found[name] = "as returned" if read == returned else read
    return found


def samples(found: Sequence[Any]) -> list[dict[str, Any]]:
    """Token ids, text and log-probabilities of completions."""
    return [
        {
            "prompt": s.prompt,
            "text": s.text,
            "prompt_ids": list(s.prompt_ids),
            "token_ids": list(s.token_ids),
            "logprobs": plain(list(s.logprobs)),
            "finish_reason": s.finish_reason,
        }
        for s in found
    ]


def scores(found: Sequence[Any]) -> list[dict[str, Any]]:
    """Log-odds and the reason where there are none."""
    return [{"value": plain(score.value), "reason": score.reason} for score in found]
