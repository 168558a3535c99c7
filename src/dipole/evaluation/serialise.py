"""An effect as plain JSON data, and back: what `effect.json` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dipole.effects import Bystander, Change, Effect, Interval
from dipole.types import Sample, UserError

FORMAT = "dipole-effect"
VERSION = 1


def effect_to_dict(effect: Effect) -> dict[str, Any]:
    """Plain data for strict JSON: NaN becomes null, infinities `inf` and `-inf`; nothing is rounded."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "concept": dict(effect.concept),
        "prompts": list(effect.prompts),
        "held_out": effect.held_out,
        "notes": list(effect.notes),
        "changes": [_change_to_dict(c) for c in effect.changes],
        "bystanders": [
            {
                "name": b.name,
                "before": _number(b.before),
                "after": _number(b.after),
                "shift": _interval_to_dict(b.shift),
            }
            for b in effect.bystanders
        ],
        "samples_before": [_sample_to_dict(s) for s in effect.samples_before],
        "samples_after": [_sample_to_dict(s) for s in effect.samples_after],
        "sides_before": list(effect.sides_before),
        "sides_after": list(effect.sides_after),
    }


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


def _number(value: float) -> float | str | None:
    if math.isnan(value):
        return None
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return float(value)


def _float(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _interval_to_dict(value: Interval) -> dict[str, Any]:
    return {"mean": _number(value.mean), "low": _number(value.low), "high": _number(value.high)}


def _interval(data: Mapping[str, Any]) -> Interval:
    return Interval(_float(data["mean"]), _float(data["low"]), _float(data["high"]))


def _change_to_dict(change: Change) -> dict[str, Any]:
    return {
        "name": change.name,
        "label": change.label,
        "unit": change.unit,
        "before": None if change.before is None else _interval_to_dict(change.before),
        "after": _interval_to_dict(change.after),
        "difference": None if change.difference is None else _interval_to_dict(change.difference),
        "in_loop": change.in_loop,
        "n": change.n,
        "unscored": change.unscored,
    }


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


def _sample_to_dict(sample: Sample) -> dict[str, Any]:
    return {
        "prompt": sample.prompt,
        "text": sample.text,
        "prompt_ids": list(sample.prompt_ids),
        "token_ids": list(sample.token_ids),
        "logprobs": [_number(value) for value in sample.logprobs],
        "seed": sample.seed,
        "finish_reason": sample.finish_reason,
    }


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
