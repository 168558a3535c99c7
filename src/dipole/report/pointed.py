"""The page of a pointed notion: what weak and strong model take for it, and what the strong one writes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipole.pointing.measure import Reading, Written
from dipole.pointing.record import Differing, Mapped, Pointed
from dipole.pointing.said import verdict
from dipole.report import comparison_svg as svg
from dipole.report.templates import template
from dipole.shown.numbers import NONE, bounds, change, duration, number, plain_bounds
from dipole.shown.text import one_line, shell_line, visible

_NAMES = {
    "weak": "the topic model",
    "refined": "the model’s own notion",
    "ceiling": "a probe trained on the truth",
    "base": "as it is",
    "steered": "steered by its own notion",
    "reversed": "steered away (−1)",
    "filtered": "best of 8 by the topic model",
}
_SIDE, _PAD, _SAMPLES, _LONGEST = 300.0, 14.0, 4, 700


def render_pointed_html(pointed: Pointed, manifest: Mapping[str, Any]) -> str:
    """The page, without scripts and without a request to anywhere.

    Args:
        pointed: What pointing gave.
        manifest: What reproduces it.
    """
    concept = pointed.recognizer.concept
    view = {
        "title": one_line(str(concept.get("name") or "a notion")),
        "words": one_line(", ".join(str(word) for word in list(concept.get("words") or [])[:10])),
        "model": one_line(str(manifest.get("model") or "")),
        "notes": [one_line(note) for note in pointed.notes],
        "verdict": one_line(verdict(pointed.readings, pointed.written, pointed.agreement)),
        "readings": [_reading(r) for r in pointed.readings],
        "cells": _cells(pointed.readings),
        "maps": _maps(pointed.documents),
        "shown": len(pointed.documents),
        "differing": _differing(pointed.differing),
        "reference": _reference(pointed),
        "written": [_written(w) for w in pointed.written],
        "judged": any(w.judged is not None for w in pointed.written),
        "samples": _samples(pointed.written),
        "candidates": (candidates := _candidates(pointed.notion)),
        "nodes": any(row["node"] for row in candidates),
        "rule": one_line(str(pointed.notion.get("rule") or "")),
        "command": visible(str(manifest.get("command") or "")),
        "use": _use(str(manifest.get("out") or "notion"), manifest.get("prompts") or []),
        "facts": _facts(pointed, manifest),
    }
    return str(template("pointed.html.jinja").render(view=view))


def _reading(reading: Reading) -> dict[str, str]:
    return {
        "name": _NAMES.get(reading.name, reading.name),
        "precision": number(reading.precision, "share"),
        "recall": number(reading.recall, "share"),
        "f1": number(reading.f1.mean, "probability"),
        "range": plain_bounds(reading.f1, "probability"),
        "auc": number(reading.auc, "probability"),
    }


def _cells(readings: Sequence[Reading]) -> dict[str, Any] | None:
    """For each cell and notion the share that is called positive, with a bar."""
    if not readings:
        return None
    rows = []
    for cell, (_, count) in readings[0].cells.items():
        shares = [r.cells[cell][0] for r in readings]
        bars = [(number(s, "share"), round(100 * s, 1)) for s in shares]
        rows.append({"name": one_line(cell), "documents": f"{count:,}", "bars": bars})
    return {"names": [_NAMES.get(r.name, r.name) for r in readings], "rows": rows}


def _maps(documents: Sequence[Mapped]) -> list[tuple[str, str]]:
    """The same documents coloured by the weak notion, by the refined one, and by the truth."""
    if len(documents) < 2:
        return []
    found = [
        ("the topic model", [d.weak for d in documents]),
        ("the model’s own notion", [d.refined for d in documents]),
    ]
    if any(d.truth is not None for d in documents):
        found.append(("the truth", [float("nan") if d.truth is None else float(d.truth) for d in documents]))
    return [(name, _map(documents, values, name)) for name, values in found]


def _map(documents: Sequence[Mapped], values: Sequence[float], name: str) -> str:
    xs, ys = [d.x for d in documents], [d.y for d in documents]
    across = svg.Scale(min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1, _PAD, _SIDE - _PAD)
    up = svg.Scale(min(ys), max(ys) if max(ys) > min(ys) else min(ys) + 1, _SIDE - _PAD, _PAD)
    parts = [svg.element("rect", x=0.5, y=0.5, width=_SIDE - 1, height=_SIDE - 1, class_="frame")]
    for document, value in zip(documents, values, strict=True):
        mark = "unknown" if value != value else ("inside" if value > 0.5 else "outside")
        parts.append(
            svg.element(
                "circle", svg.title(document.id), cx=across(document.x), cy=up(document.y), r=3, class_=mark
            )
        )
    return svg.drawing(_SIDE, _SIDE, parts, f"Map of the documents by {name}")


def _written(written: Written) -> dict[str, str]:
    return {
        "name": _NAMES.get(written.name, written.name),
        "n": str(len(written.texts)),
        "judged": NONE if written.judged is None else number(written.judged.mean, "share"),
        "judged_range": plain_bounds(written.judged, "share"),
        "refined": number(written.refined.mean, "share"),
        "weak": number(written.weak.mean, "share"),
        "excess": change(written.excess.mean, "share"),
        "excess_range": bounds(written.excess, "share"),
        "perplexity": number(written.perplexity_ratio, "ratio"),
        "distinct": number(written.distinct_2, "ratio"),
    }


def _samples(written: Sequence[Written]) -> dict[str, Any] | None:
    shown = [w for w in written if w.name in ("base", "steered", "filtered")]
    if not shown:
        return None
    rows = [[_excerpt(text) for text in row] for row in zip(*(w.texts for w in shown), strict=True)]
    return {"names": [_NAMES[w.name] for w in shown], "rows": rows[:_SAMPLES]}


def _excerpt(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _LONGEST else line[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _candidates(notion: Mapping[str, Any]) -> list[dict[str, str]]:
    rows = []
    for found in (notion.get("instead_of") or notion).get("candidates") or []:
        rows.append(
            {
                "layer": str(found["layer"]),
                "components": str(found.get("components", "")),
                "node": str(found.get("node", "")),
                "jaccard": number(found.get("jaccard"), "probability"),
                "runner_up": number(found.get("runner_up"), "probability"),
                "share": number(found.get("share"), "share"),
                "stability": number(found["stability"], "probability"),
            }
        )
    return rows


def _use(folder: str, prompts: Sequence[object]) -> str:
    prompt = next((str(p) for p in prompts if p), "Once")
    lines = (
        ["dipole", "generate", prompt, "--intervention", f"{folder}:1.0"],
        ["dipole", "score", "--recognizer", folder, "-"],
    )
    return "\n".join(visible(shell_line(line)) for line in lines)


def _reference(pointed: Pointed) -> str:
    whose = "true documents" if pointed.readings else "documents of its own notion (no truth was given)"
    taken = number(pointed.among_true.mean, "share")
    return f"Of the {whose} in the whole corpus the topic model takes {taken} for its own."


def _differing(found: Sequence[Differing]) -> list[dict[str, str]]:
    names = {None: "", True: "yes", False: "no"}
    return [
        {
            "id": one_line(each.id),
            "weak": number(each.weak, "probability"),
            "refined": number(each.refined, "probability"),
            "truth": names[each.truth],
            "text": _excerpt(each.text),
        }
        for each in found
    ]


def _facts(pointed: Pointed, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    notion, settings = pointed.notion, manifest.get("settings") or {}
    seconds = manifest.get("seconds")
    rows = [
        ("Method", str(notion.get("method"))),
        ("Layer", f"{notion.get('layer')} (output of decoder block, blocks counted from 0)"),
        ("Documents to fit on", f"{notion.get('documents'):,}"),
        ("Weak labels above a half", number(float(notion.get("weak_share", float("nan"))), "share")),
        ("The two agree on", number(pointed.agreement, "share") + " of the held-out documents"),
        ("Steers by", f"{pointed.intervention.kind}, on the {pointed.intervention.surface} surface"),
        ("Prompts", " | ".join(repr(p) for p in manifest.get("prompts") or [])),
        ("Seed", str(settings.get("seed"))),
        ("Took", duration(float(seconds)) if isinstance(seconds, int | float) else ""),
        ("Left out", str(pointed.skipped) if pointed.skipped else ""),
    ]
    return [(label, one_line(value)) for label, value in rows if value]
