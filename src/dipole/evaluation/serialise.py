"""Records as plain JSON data, and an effect back from it: what `effect.json` holds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dipole.effects import Bystander, Change, Effect, Interval
from dipole.types import Sample, UserError

FORMAT = "dipole-effect"
VERSION = 1


def effect_to_dict(effect: Effect) -> dict[str, Any]:
    """Plain data for strict JSON; nothing is rounded."""
    made = plain(effect)
    first = {name: made[name] for name in ("concept", "prompts", "held_out", "notes")}
    return {"format": FORMAT, "version": VERSION, **first, **made}


def plain(value: Any) -> Any:
    """Records as plain data for strict JSON: NaN becomes null, infinities `inf` and `-inf`.

    Raises:
        TypeError: JSON does not know a value that is in there.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = (f.name for f in dataclasses.fields(value) if f.name != "origin")  # that is for the manifest
        return {name: plain(getattr(value, name)) for name in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    raise TypeError(f"a record holds a {type(value).__name__}, which JSON does not know")


def effect_from_dict(data: Mapping[str, Any]) -> Effect:
    """The effect that `effect_to_dict` wrote down.

    Raises:
        UserError: The data is not an effect of this version.
    """
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise UserError(
            f"This is not an effect that can be read: wanted format {FORMAT!r} version {VERSION}, and it is "
            f"{data.get('format')!r} version {data.get('version')!r}. Give the effect.json of a run."
        )
    try:
        return _effect(data)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"The effect is damaged ({type(error).__name__}: {error}); make it again by comparing again."
        ) from error


def _effect(data: Mapping[str, Any]) -> Effect:
    return Effect(
        concept=dict(data["concept"]),
        prompts=tuple(data["prompts"]),
        held_out=bool(data["held_out"]),
        changes=tuple(_change(c) for c in data["changes"]),
        bystanders=tuple(
            Bystander(b["name"], _float(b["before"]), _float(b["after"]), _interval(b["shift"]))
            for b in data["bystanders"]
        ),
        samples_before=tuple(_sample(s) for s in data["samples_before"]),
        samples_after=tuple(_sample(s) for s in data["samples_after"]),
        sides_before=tuple(data["sides_before"]),
        sides_after=tuple(data["sides_after"]),
        notes=tuple(data["notes"]),
    )


def _float(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _interval(data: Mapping[str, Any]) -> Interval:
    return Interval(_float(data["mean"]), _float(data["low"]), _float(data["high"]))


def _change(data: Mapping[str, Any]) -> Change:
    return Change(
        name=data["name"],
        label=data["label"],
        unit=data["unit"],
        before=None if data["before"] is None else _interval(data["before"]),
        after=_interval(data["after"]),
        difference=None if data["difference"] is None else _interval(data["difference"]),
        in_loop=bool(data["in_loop"]),
        n=int(data["n"]),
        unscored=int(data["unscored"]),
    )


def _sample(data: Mapping[str, Any]) -> Sample:
    return Sample(
        prompt=data["prompt"],
        text=data["text"],
        prompt_ids=tuple(data["prompt_ids"]),
        token_ids=tuple(data["token_ids"]),
        logprobs=tuple(_float(value) for value in data["logprobs"]),
        seed=int(data["seed"]),
        finish_reason=data["finish_reason"],
    )
