"""The account of a fit: what was tried, what was chosen, whether it does anything; and its model card."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dipole.report.facts import facts, model_name
from dipole.report.markdown import escape, fenced, table
from dipole.shown.text import one_line, shell_line, visible

_NOTICEABLE = 0.05
_FLUENT = 1.3
_BUNDLED = ("tiny", "mini")


_LIMITS = (
    "It was not measured on held-out prompts; `dipole compare` does that. It changes which side the "
    "model takes, not what is true."
)


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
    moved = f"the mean probability of the claim went from {base:.2f} to {score:.2f}"
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


def fitted_card(meta: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """The README.md of the folder of a fitted intervention, with the front matter that the hub reads.

    Args:
        meta: The `dipole.json` of the intervention.
        manifest: What reproduces the fit.
    """
    concept, name = manifest.get("concept") or {}, str((manifest.get("control") or {}).get("name"))
    folder, selection = str(manifest.get("out") or "FOLDER"), selection_of(meta)
    claim, against = (escape(str(concept.get(pole) or "")) for pole in ("claim", "against"))
    towards = f" that moves text towards “{claim}” and away from “{against}”" if claim else ""
    base = escape(model_name(manifest))
    wanted = ("Model", "Fingerprint", "Control", "Settings", "Seed", "Started", "Took", "Versions")
    blocks = [
        _front_matter(model_name(manifest)),
        f"# {claim or escape(name)}",
        f"A {escape(str(meta.get('kind')))} {_fits(meta, base)}{towards}; it works on the "
        f"{escape(str(meta.get('surface')))} surface. Made with dipole.",
        "## How it was made",
        "\n".join(f"- {f.label}: {escape(f.value)}" for f in facts(manifest) if f.label in wanted),
        fenced(visible(str(manifest.get("command") or ""))),
        *_notes(meta, manifest),
        *(_choice(selection) if selection else ()),
        "## How to use it",
        fenced(visible(shell_line(["dipole", "generate", "…", "--intervention", f"{folder}:1"]))),
        _LIMITS if claim else "",
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _notes(meta: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[str]:
    """What was said while it was fitted."""
    said = [*(manifest.get("warnings") or ()), *((meta.get("facts") or {}).get("notes") or ())]
    return ["## What to know", "\n".join(f"- {escape(str(note))}" for note in said)] if said else []


def _fits(meta: Mapping[str, Any], base: str) -> str:
    bound = meta.get("base_fingerprint") is not None
    return f"for {base}" if bound else f"that fits any model (made with {base})"


def _choice(selection: Mapping[str, Any]) -> list[str]:
    header, rows = rows_of(selection, most=1000)
    return [
        "## How it was chosen",
        escape(verdict_of(selection)),
        escape(f"The rule: {selection.get('rule')}."),
        table([escape(h) for h in header], "r" * len(header), [[escape(c) for c in row] for row in rows]),
    ]


def _front_matter(model: str) -> str:
    named = [] if model in _BUNDLED else [f"base_model: {json.dumps(one_line(model), ensure_ascii=False)}"]
    return "\n".join(["---", "library_name: dipole", *named, "tags:", "- dipole", "- steering", "---"])


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)  # JSON has no NaN: it is null there


def _sortable(value: Any) -> float:
    number = _number(value)
    return -math.inf if math.isnan(number) else number


def _shown(value: Any, spec: str = ".4g") -> str:
    if isinstance(value, float):
        return "n/a" if math.isnan(value) else format(value, spec)
    return "" if value is None else one_line(str(value))
