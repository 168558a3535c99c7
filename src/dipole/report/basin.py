"""The page of a basin of attraction: a map for each method and kind of error, and the shares in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipole.pointing.basin import Basin
from dipole.pointing.fates import FATES, IMPOSSIBLE, meaning
from dipole.pointing.grid import INSIDE, End, summary
from dipole.pointing.runners import SAYS
from dipole.pointing.said import fates_in, others, percent, sentences, shown_rows
from dipole.report.basin_map import FATE_COLOURS, SHADES, basin_map, held_band
from dipole.report.facts import Fact
from dipole.report.templates import template
from dipole.shown.numbers import duration
from dipole.shown.text import one_line, visible


def render_basin_html(found: Basin, manifest: Mapping[str, Any]) -> str:
    """The page, without scripts and without a request to anywhere.

    Args:
        found: What was measured.
        manifest: What reproduces it.
    """
    topic = manifest.get("topic") or {}
    rows = summary(found.ends)
    seen = {fate for row in rows for fate in fates_in(row)}
    view = {
        "title": one_line(", ".join(str(word) for word in list(topic.get("words") or [])[:3]) or "a notion"),
        "model": one_line(str(manifest.get("model") or "")),
        "verdicts": [one_line(sentence) for sentence in sentences(found.ends)],
        "notes": [one_line(note) for note in found.notes],
        "figures": [_method(found, rows, str(method)) for method in found.grid.methods],
        "shades": [(round(100 * at), colour) for at, colour in SHADES],
        "inside": round(100 * INSIDE),
        "legend": [(FATE_COLOURS[fate], meaning(fate, found.flavour)) for fate in FATES[1:] if fate in seen],
        "impossible": any(end.fate == IMPOSSIBLE for end in found.ends),
        "topic_place": any(end.kind == "topic" for end in found.ends),
        "rows": shown_rows(found.ends, found.flavour),
        "adversarial": _adversarial(found.flavour),
        "documents": f"{found.documents:,}",
        "positive": f"{found.positive:,}",
        "command": visible(str(manifest.get("command") or "")),
        "facts": _facts(found, manifest),
    }
    return str(template("basin.html.jinja").render(view=view))


def _method(found: Basin, rows: Sequence[Mapping[str, object]], method: str) -> dict[str, Any]:
    own = next((end for end in found.ends if (end.method, end.kind) == (method, "topic")), None)
    maps = []
    for row in rows:
        if row["method"] != method or row["kind"] == "topic":
            continue
        kind = str(row["kind"])
        ends = [end for end in found.ends if (end.method, end.kind) == (method, kind)]
        lost = others(row, found.flavour)
        maps.append(
            {
                "kind": f"{kind} errors",
                "inside": percent(row["inside"]),
                "svg": basin_map(ends, found.grid.values, own, method == "fixed-point"),
                "lost": f"The others end at: {lost}."
                if lost
                else "All starts come to it."
                if row["made"]
                else "",
            }
        )
    return {
        "name": method,
        "says": SAYS[method],  # type: ignore[index]
        "maps": maps,
        "own": "" if own is None else _own(own, found.flavour),
        "band": tuple(f"{edge:.2f}" for edge in held_band()) if method == "fixed-point" else None,
    }


def _own(own: End, flavour: str) -> str:
    before = 2 * own.precision * own.recall / max(own.precision + own.recall, 1e-12)
    end = "inside" if own.inside else f"at {meaning(own.fate, flavour)}"
    return (
        f"Begun at the topic’s own labels (precision {own.precision:.2f}, recall {own.recall:.2f}, "
        f"F1 {before:.2f} on the documents that are fitted on) it ends {end}: F1 {own.f1:.2f} of a "
        f"ceiling of {own.ceiling:.2f}."
    )


def _adversarial(flavour: str) -> str:
    if flavour == "topic":
        return (
            "adversarial errors are the topic’s own: negatives that it finds likeliest are added, and of the "
            "positives those are kept that it finds likeliest"
        )
    return (
        "adversarial errors fall on the flavour: negatives that have it are added first, and positives "
        "that have it are kept first"
    )


def _facts(found: Basin, manifest: Mapping[str, Any]) -> list[Fact]:
    grid, seconds = found.grid, manifest.get("seconds")
    layers = ", ".join(str(layer) for layer in manifest.get("layers") or ())
    ceiling = max((end.ceiling for end in found.ends if end.layer >= 0), default=float("nan"))
    rows = [
        ("Documents", f"{found.documents:,}, {found.positive:,} of them of the notion; about 30% held out"),
        ("Starts", f"{grid.size} × {grid.size} values of precision and recall from {grid.values[0]:g} to 1, "
                   f"2 kinds of error, {grid.seeds} seeds"),
        ("Model", f"{manifest.get('model')}, layers {layers}, {grid.width} principal components"),
        ("Ceiling", f"F1 {ceiling:.3f}, by a probe of the truth at the best of the layers"),
        ("Clusters", ", ".join(str(count) for count in grid.components)),
        ("Seed", str(grid.seed)),
        ("Took", duration(float(seconds)) if isinstance(seconds, int | float) else ""),
    ]  # fmt: skip
    return [Fact(label, one_line(value)) for label, value in rows if value]
