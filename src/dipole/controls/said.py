"""What a control tried, what it chose and whether that does anything, in words and tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from dipole.controls.selection import PROBABILITY
from dipole.shown.text import one_line

_NOTICEABLE = 0.05
_FLUENT = 1.3


def selection_of(meta: Mapping[str, Any]) -> dict[str, Any] | None:
    """How a control chose what it left open, from the `dipole.json` of what it made; None if it did not."""
    found = meta.get("selection") or (meta.get("facts") or {}).get("selection")
    # One by another measure than the claim's probability (that of ablate) has no score to speak of.
    spoken_of = isinstance(found, dict) and found.get("trials") and "base_score" in found
    return found if spoken_of else None


def verdict_of(selection: Mapping[str, Any]) -> str:
    """One sentence on what the chosen candidate does on the prompts that it was chosen by.

    Args:
        selection: What `selection_of` found.
    """
    trials, base = selection["trials"], _number(selection["base_score"])
    best = trials[selection["chosen"]]
    score, ratio = _number(best["score"]), _number(best["perplexity_ratio"])
    tried = "the only candidate" if len(trials) == 1 else f"the best of {len(trials)} candidates"
    if math.isnan(score) or math.isnan(base):
        return "Nothing is known of its effect: no completion could be scored."
    what = selection.get("what", PROBABILITY)
    moved = f"the {what} went from {base:.2f} to {score:.2f}"
    cost = f"at {ratio:.2f} times the base's perplexity"
    if ratio > _FLUENT:
        return f"No candidate kept the text fluent: with {tried} {moved}, {cost}."
    if score - base <= -_NOTICEABLE:
        return f"It moves the wrong way: with {tried} {moved}, {cost}."
    if score - base >= _NOTICEABLE:
        return f"With {tried} {moved}, {cost}."
    if base > 1 - 2 * _NOTICEABLE:
        return f"There was nothing to move: the model takes the claim's side by itself ({base:.2f})."
    return f"It did nothing that can be seen: with {tried} {moved}."


def rows_of(selection: Mapping[str, Any], most: int = 12) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table of candidates, in the order in which they were tried.

    Args:
        selection: What `selection_of` found.
        most: How many rows at most: the best ones, and always the chosen one, which is marked.
    """
    trials: Sequence[Mapping[str, Any]] = selection["trials"]
    names = list(dict.fromkeys(name for trial in trials for name in trial["candidate"]))
    chosen = selection["chosen"]
    order = sorted(
        range(len(trials)), key=lambda i: (i != chosen, -_sortable(trials[i]["score"]), trials[i]["push"])
    )
    rows = [
        [
            *(_shown(trials[i]["candidate"].get(name)) for name in names),
            _shown(_number(trials[i]["score"]), ".3f"),
            _shown(_number(trials[i]["perplexity_ratio"]), ".2f"),
            "chosen" if i == chosen else "",
        ]
        for i in sorted(order[:most])
    ]
    return [*names, "P(claim)", "perplexity ratio", ""], rows


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)  # JSON has no NaN: it is null there


def _sortable(value: Any) -> float:
    number = _number(value)
    return -math.inf if math.isnan(number) else number


def _shown(value: Any, spec: str = ".4g") -> str:
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else format(value, spec)
    return "" if value is None else one_line(str(value))
