"""The folder of a topic model: safetensors for the numbers, JSON for the words and how it was fitted."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save

from dipole.files import write_bytes_atomic, write_json_atomic, write_text_atomic
from dipole.files.reader import Unreadable, inside, parse_json, read_json, read_text
from dipole.files.schema import Choice, Items, Maybe, Name, Number, Optional, Table, Text, Whole, checked
from dipole.recognizers.fitted import RECOGNIZER
from dipole.recognizers.lda import SPLITTINGS, Array
from dipole.tensors import Wanted, read_tensors
from dipole.types import MOST_SEED, UserError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_NUMBERS, _WORDS, _THETA, _IDS = "topics.safetensors", "topics.json", "theta.safetensors", "documents.jsonl"
_FORMAT = 1
_REMEDY = "fit the topics again with `dipole topics`"


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
    file = inside(folder, _WORDS)
    facts = checked(_FIELDS, read_json(file, _REMEDY), file, _REMEDY)
    vocabulary = facts.pop("vocabulary")
    if facts.pop("vocabulary_sha256") != vocabulary_hash(vocabulary):
        raise damaged(file, "the vocabulary is not the one that the model was fitted with")
    wanted = {
        "components": Wanted("float64", ("topics", len(vocabulary))),
        "shares": Wanted("float64", ("topics",)),
    }
    components, shares = _arrays(folder, _NUMBERS, wanted)
    if len(components) < 2 or not (components > 0).all():
        raise damaged(folder / _NUMBERS, "its numbers are not those of a topic model")
    return components, shares, vocabulary, facts


def read_training(folder: Path) -> Training:
    """Ids and topic shares of the documents that a saved model was fitted to.

    Raises:
        UserError: They are missing or damaged.
    """
    file = inside(folder, _IDS)
    lines = read_text(file, _REMEDY).splitlines()
    try:
        rows = [parse_json(line) for line in lines]
    except Unreadable as error:
        raise damaged(file, f"a line is no JSON ({error})") from error
    ids = tuple(checked(_ID, row, file, _REMEDY)["id"] for row in rows)
    (theta,) = _arrays(folder, _THETA, {"theta": Wanted("float64", (len(ids), "topics"))})
    return Training(ids, theta)


_WORD = Text(100_000, 1)
_REAL = Number(-1e30, 1e30)
_ID = Table({"id": Text()})
_FIELDS = Table(
    {
        "format": Choice((_FORMAT,)),
        "settings": Table(
            {
                "n_topics": Whole(2),
                "iterations": Whole(1),
                "restarts": Whole(1),
                "race": Number(0, 1, above=True),
                "seed": Whole(0, MOST_SEED),
                "min_df": Whole(1),
                "max_df": Number(0, 1, above=True),
                "max_words": Whole(),
                "batch": Whole(),
            }
        ),
        "doc_topic_prior": Number(0, 1),
        "topic_word_prior": Number(0, 1),
        "seeds": Items(Whole(0, MOST_SEED)),
        "bounds": Items(Maybe(_REAL, math.nan)),
        "kept": Whole(),
        "bound": Maybe(_REAL, math.nan),
        "moved": Maybe(_REAL, math.nan),
        # Models from before there was a choice cut words as scikit-learn does.
        "splitting": Optional(Choice(tuple(SPLITTINGS)), "scikit-learn"),
        "topics": Items(Items(_WORD)),
        "vocabulary_sha256": Name(64),
        "vocabulary": Items(_WORD, 1, 100_000_000),
    }
)


def damaged(file: Path, what: str) -> UserError:
    """What a file that can't be used is said to have."""
    return UserError(f"{file} is damaged: {what}; {_REMEDY}.")


def _arrays(folder: Path, name: str, wanted: Mapping[str, Wanted]) -> list[Array]:
    tensors = read_tensors(inside(folder, name), wanted, _REMEDY)
    return [tensors[key].numpy() for key in wanted]
