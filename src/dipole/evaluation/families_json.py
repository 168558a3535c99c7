"""A comparison as plain JSON data: what `comparison.json` holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dipole.evaluation.families_records import Comparison, Matched, Verdict

FORMAT = "dipole-comparison"
VERSION = 1


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """Plain data for strict JSON: NaN becomes null, infinities `inf` and `-inf`; nothing is rounded."""
    return {"format": FORMAT, "version": VERSION, **_plain(comparison)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.name != "origin"
        }
    if isinstance(value, Matched | Verdict):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, float):
        return (
            value if math.isfinite(value) else None if math.isnan(value) else "inf" if value > 0 else "-inf"
        )
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    raise TypeError(f"a comparison holds a {type(value).__name__}, which JSON does not know")
