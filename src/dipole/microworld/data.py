"""From documents to batches: token rows of a few lengths, each row filled with whole documents.

Attention never crosses from one document to the next (see `segment_mask`): every document is alone in the
world, as it is when the model is used. Short rows keep the square of attention small.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from dipole.microworld.truth import Document

IGNORED = -100
"""Target of a position without loss."""


@dataclass(frozen=True)
class Rows:
    """Rows of one length.

    Attributes:
        ids: token ids, uint16. (rows, length)
        segments: number of the document that a token belongs to; 255 for padding. (rows, length)
    """

    ids: NDArray[np.uint16]
    segments: NDArray[np.uint8]


def encode(tokenizer: PreTrainedTokenizerFast, documents: Sequence[Document]) -> list[list[int]]:
    """Token ids of every document, from begin to end token."""
    end = tokenizer.eos_token_id
    encodings = tokenizer.backend_tokenizer.encode_batch_fast([d.text for d in documents])
    return [[*e.ids, end] for e in encodings]


def pack(encoded: Sequence[list[int]], lengths: Sequence[int], pad: int) -> dict[int, Rows]:
    """Fill rows with documents, each at the shortest length that holds it; too long ones are dropped."""
    by_length: dict[int, list[list[int]]] = defaultdict(list)
    for ids in encoded:
        fitting = [length for length in lengths if len(ids) <= length]
        if fitting:
            by_length[min(fitting)].append(ids)
    return {length: _fill(documents, length, pad) for length, documents in sorted(by_length.items())}


def _fill(documents: list[list[int]], length: int, pad: int) -> Rows:
    rows: list[list[list[int]]] = []
    open_rows: list[
        tuple[int, list[list[int]]]
    ] = []  # (room left, documents), the last few that still have room
    for ids in documents:
        for i, (room, row) in enumerate(open_rows):
            if room >= len(ids):
                row.append(ids)
                open_rows[i] = (room - len(ids), row)
                break
        else:
            row = [ids]
            rows.append(row)
            open_rows = [*open_rows[-31:], (length - len(ids), row)]
    ids_out = np.full((len(rows), length), pad, dtype=np.uint16)
    segments = np.full((len(rows), length), 255, dtype=np.uint8)
    for r, row in enumerate(rows):
        at = 0
        for number, ids in enumerate(row):
            ids_out[r, at : at + len(ids)] = ids
            segments[r, at : at + len(ids)] = number
            at += len(ids)
    return Rows(ids_out, segments)


def make_shard(
    tokenizer: PreTrainedTokenizerFast,
    documents: Callable[[], Sequence[Document]],
    lengths: Sequence[int],
    path: Path,
) -> dict[int, Rows]:
    """The rows of the documents, from the cache at `path` if they are there."""
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            found = sorted({int(key.split("_")[1]) for key in stored.files})
            return {length: Rows(stored[f"ids_{length}"], stored[f"segments_{length}"]) for length in found}
    shard = pack(encode(tokenizer, documents()), lengths, tokenizer.pad_token_id)
    arrays: dict[str, NDArray[Any]] = {f"ids_{length}": rows.ids for length, rows in shard.items()}
    arrays |= {f"segments_{length}": rows.segments for length, rows in shard.items()}
    partial = path.with_name(path.name + f".{os.getpid()}.partial.npz")
    np.savez(partial, allow_pickle=False, **arrays)
    partial.replace(path)
    return shard
