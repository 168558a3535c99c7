"""Where two records differ: exactly for all but numbers, to a tolerance for these."""

from __future__ import annotations

import math
from typing import Any, NamedTuple


class Tolerance(NamedTuple):
    """How far a float may be from its record: `absolute + relative * |record|`.

    Attributes:
        absolute: In the number's own unit.
        relative: As a share of the record.
        entry: By what both are multiplied for single entries of a tensor.
    """

    absolute: float
    relative: float
    entry: float = 1.0


# Bounds of a bootstrap of few units: they jump where two resampled means change places.
_BOUNDS, _WIDER = frozenset({"low", "high"}), 10.0


def differences(was: Any, now: Any, tolerance: Tolerance, at: str = "") -> list[str]:
    """A line for each place where two records differ; an integer is a count or a token, and exact."""
    if isinstance(was, dict) and isinstance(now, dict):
        lost = [f"{at}/{key}: gone" for key in was.keys() - now.keys()]
        new = [f"{at}/{key}: new, {_short(now[key])}" for key in now.keys() - was.keys()]
        shared = [key for key in was if key in now]
        parts = [differences(was[key], now[key], _of(tolerance, key), f"{at}/{key}") for key in shared]
        return [*sorted(lost), *sorted(new), *(line for part in parts for line in part)]
    if isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            return [f"{at}: {len(was)} items were {_short(was)}, and {len(now)} are {_short(now)}"]
        parts = [
            differences(a, b, tolerance, f"{at}/{i}") for i, (a, b) in enumerate(zip(was, now, strict=True))
        ]
        return [line for part in parts for line in part]
    if isinstance(was, float) and isinstance(now, float):
        near = math.isclose(now, was, rel_tol=0.0, abs_tol=tolerance.absolute + tolerance.relative * abs(was))
        return [] if near else [f"{at}: {was!r} is {now!r}"]
    same = type(was) is type(now) and was == now
    return [] if same else [f"{at}: {_short(was)} is {_short(now)}"]


def _of(tolerance: Tolerance, key: str) -> Tolerance:
    wider = _WIDER if key in _BOUNDS else tolerance.entry if key == "first" else 1.0
    return Tolerance(tolerance.absolute * wider, tolerance.relative * wider, tolerance.entry)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}…"
