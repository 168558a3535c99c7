"""Steering vectors as GGUF control vectors, which llama.cpp and repeng read and write.

A tensor `direction.N` (one dimension, float32) is what strength 1 adds after block N, blocks counted from
0: the number is our layer. That is how llama.cpp applies it (`build_cvec(cur, il)` at the end of block `il`)
and how repeng writes it. Block 0 has no tensor there: llama.cpp refuses `direction.0`. What the format has no
place for travels in one string of JSON, `dipole.json`, which other programs pass over.
"""

from __future__ import annotations

import importlib.util
import json
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dipole.files import to_plain, write_bytes_atomic
from dipole.files.paths import given_file
from dipole.files.reader import parse_json, require_plain
from dipole.files.schema import Choice, Items, Name, Table, checked, shown
from dipole.interventions.activations import CONVENTION, LAYER, NORM, SIGN, SteeringVector
from dipole.interventions.folder import ANY_BASE, MOST_LAYERS
from dipole.types import UserError

ARCHITECTURE = "controlvector"
_OWN_KEY = "dipole.json"
_LAYER = re.compile(r"[1-9][0-9]{0,3}")
_MOST_BYTES = 1 << 30
_MOST_ITEMS = 65_536
_ARRAY = 9  # the number of that type in the format
_PREFIX = "direction."


def export_gguf(vector: SteeringVector, path: Path) -> None:
    """Write a steering vector as a control vector, for `--control-vector` of llama.cpp's programs.

    Args:
        vector: One that is added; the format knows no other operator.
        path: The file, replaced at once.

    Raises:
        UserError: The vector cannot be written in this format, or the package `gguf` is missing.
    """
    writer_class = _package().GGUFWriter
    if vector.operator != "add" or vector.keep_norm:
        what = "keeps norms" if vector.operator == "add" else f"has the operator {vector.operator!r}"
        raise UserError(
            f"This vector {what}, and GGUF control vectors can only be added; fit the control vector with "
            "the operator add."
        )
    if 0 in vector.layers:
        raise UserError(
            "This vector acts after layer 0, where llama.cpp steers nothing; fit it again with layers='1' or "
            "higher."
        )
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "vector.gguf"
        writer = writer_class(str(file), ARCHITECTURE)
        writer.add_string(f"{ARCHITECTURE}.model_hint", vector.model_type)
        writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vector.layers))
        writer.add_string(_OWN_KEY, json.dumps(to_plain(_own(vector)), allow_nan=False))
        for layer, row in zip(vector.layers, vector.vectors, strict=True):
            writer.add_tensor(f"{_PREFIX}{layer}", row.numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        write_bytes_atomic(path, file.read_bytes())


def import_gguf(path: Path) -> SteeringVector:
    """Read a control vector that we, repeng or llama.cpp wrote.

    One that was not made by us has no fingerprint, so it is taken by any model of its width.

    Raises:
        UserError: The file is missing, broken or no control vector, or the package `gguf` is missing.
    """
    package = _package()
    given_file(path, "The control vector")
    try:
        require_plain(path, _MOST_BYTES)
        reader = _bounded(package.GGUFReader)(str(path))
        texts = {key: _text(reader.fields.get(key)) for key in ("general.architecture", _OWN_KEY)}
        hint = _text(reader.fields.get(f"{ARCHITECTURE}.model_hint"))
        tensors = {str(t.name): (t.tensor_type.name, np.array(t.data)) for t in reader.tensors}
        own = parse_json(texts[_OWN_KEY]) if texts[_OWN_KEY] else None
    except (OSError, ValueError, IndexError, KeyError, ArithmeticError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} can't be read as GGUF ({' '.join(str(error).split())[:200]}): it is truncated or "
            "corrupt; get a whole copy."
        ) from error
    if texts["general.architecture"] != ARCHITECTURE:
        raise UserError(
            f"{path} has general.architecture {texts['general.architecture']!r}, and a control vector "
            f"({ARCHITECTURE!r}) is wanted; give the file of one."
        )
    rows = _rows(tensors, path)
    layers = tuple(sorted(rows))
    vectors = torch.from_numpy(np.stack([rows[layer] for layer in layers]))
    plain = SteeringVector(layers, vectors, base_name=hint or "an unknown model", model_type=hint)
    return plain if own is None else _with_own(plain, own, path)


def _bounded(reader: Any) -> Any:
    """The package's reader, which by itself goes on behind the end of a file for as long as a count says."""

    class Bounded(reader):  # type: ignore[misc]
        def _get(self, offset: int, dtype: Any, count: int = 1, override_order: Any = None) -> Any:
            found = super()._get(offset, dtype, count, override_order)
            if len(found) < int(count):
                raise ValueError("it ends early")
            return found

        def _get_field_parts(self, orig_offs: int, raw_type: int) -> Any:
            if raw_type == _ARRAY and self._get(orig_offs + 4, np.uint64)[0] > _MOST_ITEMS:
                raise ValueError("it holds a list that no control vector has")
            return super()._get_field_parts(orig_offs, raw_type)

    return Bounded


def _rows(tensors: Mapping[str, tuple[str, Any]], path: Path) -> dict[int, Any]:
    """Directions by layer."""
    rows: dict[int, Any] = {}
    for name, (kind, data) in tensors.items():
        number = name.removeprefix(_PREFIX)
        if not name.startswith(_PREFIX) or not _LAYER.fullmatch(number):
            raise UserError(
                f"{path} has a tensor {name[:60]!r}; a control vector has direction.1, direction.2 …"
            )
        if kind != "F32" or data.ndim != 1:
            raise UserError(f"{path} has {name} as {kind} of {data.ndim} dimensions; wanted one row of F32.")
        rows[int(number)] = data.astype(np.float32)
    if len({len(row) for row in rows.values()}) != 1:
        raise UserError(f"{path} has no directions, or directions of different widths.")
    # A layer that is left alone may be written as zeros.
    kept = {layer: row for layer, row in rows.items() if np.any(row)}
    if not kept:
        raise UserError(f"{path} has only zeros in its directions, so it would change nothing.")
    return kept


def _own(vector: SteeringVector) -> dict[str, Any]:
    return {
        "layer_convention": CONVENTION,
        "layers": list(vector.layers),
        "signs": list(vector.signs),
        "activation_norms": list(vector.activation_norms),
        "mean_norms": list(vector.mean_norms),
        "read_token": vector.read_token,
        "template_hash": vector.template_hash,
        "base": vector.base_name,
        "base_fingerprint": vector.base_fingerprint,
        "facts": vector.facts,
    }


def _with_own(plain: SteeringVector, data: Any, path: Path) -> SteeringVector:
    """The vector with what only our files say of it."""
    own = checked(_OWN_FIELDS, data, f"{_OWN_KEY} in {path}", "export the vector again")
    if own["layers"] != plain.layers:
        raise UserError(
            f"{_OWN_KEY} in {path} names layers {shown(own['layers'])}, and the file holds "
            f"{shown(plain.layers)}; export the vector again."
        )
    kept = ("signs", "activation_norms", "mean_norms", "read_token", "template_hash", "facts")
    return SteeringVector(
        plain.layers,
        plain.vectors,
        base_fingerprint=own["base_fingerprint"],
        base_name=own["base"],
        model_type=plain.model_type,
        **{name: own[name] for name in kept},
    )


_OWN_FIELDS = Table(
    {
        **ANY_BASE,
        "layer_convention": Choice((CONVENTION,)),
        "layers": Items(LAYER, 1, MOST_LAYERS),
        "signs": Items(SIGN, 1, MOST_LAYERS),
        "activation_norms": Items(NORM, 1, MOST_LAYERS),
        "mean_norms": Items(NORM, 1, MOST_LAYERS),
        "read_token": Name(40),
        "template_hash": Name(100),
    }
)


def _text(field: Any) -> str:
    return "" if field is None else str(field.contents())


def _package() -> Any:
    if importlib.util.find_spec("gguf") is None:
        raise UserError('GGUF files need the package gguf: pip install "dipole[gguf]".')
    import gguf

    return gguf
