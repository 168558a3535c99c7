"""The folder of a topic model: safetensors for the numbers, JSON for the words and how it was fitted."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from dipole.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from dipole.recognizers.lda import Array
from dipole.types import UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

RECOGNIZER = "recognizer.json"
_NUMBERS, _WORDS, _THETA, _IDS = "topics.safetensors", "topics.json", "theta.safetensors", "documents.jsonl"
_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Training:
    """What a topic model was fitted to.

    Attributes:
        ids: Id of each document.
        theta: `(n, topics)` share of each topic in each document; rows sum to 1.
        counts: `(n, words)` how often each document has each word; None where it was loaded.
        all_words: Different words before rare and frequent ones were left out; 0 where it was loaded.
    """

    ids: tuple[str, ...]
    theta: Array
    counts: csr_matrix | None = None
    all_words: int = 0


def vocabulary_hash(vocabulary: Sequence[str]) -> str:
    """SHA-256 of the words, one a line, as hexadecimal digits."""
    return hashlib.sha256("\n".join(vocabulary).encode()).hexdigest()


def write(
    folder: Path,
    components: Array,
    shares: Array,
    vocabulary: Sequence[str],
    facts: Mapping[str, Any],
    training: Training | None,
) -> None:
    """Write all files; `recognizer.json`, by which the folder is known, comes last.

    Raises:
        UserError: A file can't be written.
    """
    tensors = {"components": np.ascontiguousarray(components), "shares": np.ascontiguousarray(shares)}
    write_bytes_atomic(folder / _NUMBERS, save(tensors))
    if training is not None:
        write_bytes_atomic(folder / _THETA, save({"theta": np.ascontiguousarray(training.theta)}))
        write_text_atomic(folder / _IDS, "".join(json.dumps({"id": i}) + "\n" for i in training.ids))
    words = {"vocabulary_sha256": vocabulary_hash(vocabulary), "vocabulary": vocabulary}
    write_json_atomic(folder / _WORDS, {"format": _FORMAT, **facts, **words})
    known = {"kind": "topic", "format": _FORMAT, "topics": len(components)}
    write_json_atomic(folder / RECOGNIZER, known)


def read(folder: Path) -> tuple[Array, Array, tuple[str, ...], dict[str, Any]]:
    """Components, shares, vocabulary and the other facts.

    Raises:
        UserError: A file is missing or damaged, or the vocabulary is not the one that was written.
    """
    facts = _json(folder)
    tensors = _tensors(folder / _NUMBERS, ("components", "shares"))
    vocabulary = facts.pop("vocabulary", None)
    if not isinstance(vocabulary, list) or not all(isinstance(word, str) for word in vocabulary):
        raise damaged(folder / _WORDS, "it has no list `vocabulary`")
    if facts.pop("vocabulary_sha256", None) != vocabulary_hash(vocabulary):
        raise damaged(folder / _WORDS, "the vocabulary is not the one that the model was fitted with")
    components, shares = tensors["components"], tensors["shares"]
    if components.ndim != 2 or components.shape[1] != len(vocabulary) or len(components) < 2:
        raise damaged(
            folder / _NUMBERS, f"wanted topics × {len(vocabulary)} words, and it has {components.shape}"
        )
    if shares.shape != components.shape[:1] or not (np.isfinite(components).all() and (components > 0).all()):
        raise damaged(folder / _NUMBERS, "its numbers are not those of a topic model")
    return components, shares, tuple(vocabulary), facts


def read_training(folder: Path) -> Training:
    """Ids and topic shares of the documents that a saved model was fitted to.

    Raises:
        UserError: They are missing or damaged.
    """
    theta = _tensors(folder / _THETA, ("theta",))["theta"]
    try:
        lines = (folder / _IDS).read_text("utf-8").splitlines()
        ids = tuple(str(json.loads(line)["id"]) for line in lines)
    except OSError as error:
        raise _missing(folder / _IDS, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(folder / _IDS, "a line is no JSON object with an `id`") from error
    if theta.ndim != 2 or len(theta) != len(ids):
        raise damaged(folder / _THETA, f"it has shape {theta.shape}, and there are {len(ids)} documents")
    return Training(ids, theta)


def damaged(file: Path, what: str) -> UserError:
    """What a file that can't be used is said to have."""
    return UserError(f"{file} is damaged: {what}; fit the topics again with `dipole topics`.")


def _missing(file: Path, error: OSError) -> UserError:
    return UserError(
        f"{file} can't be read ({error.strerror or error}); give a folder that `dipole topics` made."
    )


def _json(folder: Path) -> dict[str, Any]:
    try:
        facts = json.loads((folder / _WORDS).read_text("utf-8"))
    except OSError as error:
        raise _missing(folder / _WORDS, error) from error
    except ValueError as error:
        raise damaged(folder / _WORDS, "it is no JSON") from error
    if not isinstance(facts, dict) or facts.pop("format", None) != _FORMAT:
        raise damaged(folder / _WORDS, f"wanted an object of format {_FORMAT}")
    return facts


def _tensors(file: Path, wanted: Sequence[str]) -> dict[str, Array]:
    try:
        tensors = load(file.read_bytes())
    except OSError as error:
        raise _missing(file, error) from error
    except (SafetensorError, ValueError) as error:
        raise damaged(file, "it is no safetensors file") from error
    for name in wanted:
        if name not in tensors or tensors[name].dtype != np.float64:
            raise damaged(file, f"it has no tensor `{name}` in float64")
    return tensors
