"""The page of a topic model: its topics, example documents, and a map of the documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dipole.recognizers.topic import TopicModel
from dipole.recognizers.topics import Topics, TopicView, notes_on
from dipole.report import comparison_svg as svg
from dipole.report.facts import Fact
from dipole.report.templates import template
from dipole.report.topics_map import Map, document_map, ring
from dipole.shown.numbers import duration, number
from dipole.shown.text import one_line, shell_line, visible

_LONGEST = 260
_MOST_SKIPPED = 20
_WIDTH, _HEIGHT, _RADIUS = 920.0, 600.0, 235.0
_LABELLED = ((14, 3), (40, 1))  # words of a label for up to so many topics; beyond, numbers alone
_LONGEST_WORD = 18


def render_topics_html(found: Topics, manifest: Mapping[str, Any]) -> str:
    """The page, without scripts and without a request to anywhere.

    Args:
        found: What was found, with the training documents.
        manifest: What reproduces the fit.
    """
    model, topics, chosen = found.model, found.topics, found.chosen
    theta = model.training.theta if model.training else np.empty((0, model.n_topics))
    order = ring(theta)
    folder = str(manifest.get("out") or "topics")
    shown = [_shown(topic, topics, _colour(order.index(topic.index), len(order))) for topic in topics]
    data = {
        "n": len(theta),
        "title": f"{len(topics)} topics",
        "corpus": one_line(str(manifest.get("corpus") or "")),
        "topics": shown,
        "by_share": sorted(shown, key=lambda topic: -topic["size"]),
        "largest": max(topic["size"] for topic in shown),
        "chosen": None if chosen is None else shown[chosen],
        "notes": notes_on(model, found.skipped),
        "map": _drawn(document_map(theta), shown),
        "mapped": min(len(theta), len(document_map(theta).rows)),
        "command": visible(str(manifest.get("command") or "")),
        "use": _use(folder, chosen or 0),
        "facts": _facts(model, manifest),
        "skipped": [(one_line(s.name), one_line(s.reason)) for s in found.skipped[:_MOST_SKIPPED]],
        "more_skipped": max(0, len(found.skipped) - _MOST_SKIPPED),
    }
    return str(template("topics.html.jinja").render(view=data))


def _colour(place: int, of: int) -> str:
    """A colour by the place on the circle; neighbours differ in lightness too."""
    return f"hsl({360 * place / of:.0f} 62% {(40, 56)[place % 2]}%)"


def _shown(topic: TopicView, topics: Sequence[TopicView], colour: str) -> dict[str, Any]:
    top = topic.words[0][1]
    return {
        "index": topic.index,
        "name": one_line(topic.name),
        "colour": colour,
        "size": topic.share,
        "share": number(topic.share, "share"),
        "leading": topic.leading,
        "words": [(one_line(w), f"{100 * p:.1f}%", round(100 * p / top, 1)) for w, p in topic.words],
        "line": one_line(", ".join(topic.telling)),
        "coherence": number(topic.coherence, "probability"),
        "nearest": topic.nearest,
        "nearest_name": one_line(topics[topic.nearest].name),
        "likeness": f"{topic.likeness:.2f}",
        "examples": [(one_line(e.id), number(e.share, "share"), _excerpt(e.text)) for e in topic.examples],
    }


def _excerpt(text: str) -> str:
    line = one_line(" ".join(text[: 4 * _LONGEST].split()))
    return line if len(line) <= _LONGEST else line[:_LONGEST].rsplit(" ", 1)[0] + " …"


def _drawn(found: Map, shown: Sequence[Mapping[str, Any]]) -> str:
    """The map: a faint circle, a mark a document, and each topic's number and words outside."""
    x0, y0 = _WIDTH / 2, _HEIGHT / 2
    parts = [svg.element("circle", cx=x0, cy=y0, r=_RADIUS, class_="rim")]
    for (x, y), topic in zip(found.points.tolist(), found.leading, strict=True):
        parts.append(
            f'<circle cx="{x0 + _RADIUS * x:.1f}" cy="{y0 + _RADIUS * y:.1f}" r="2.6" class="k{topic}"/>'
        )
    for (x, y), named in zip(found.anchors.tolist(), shown, strict=True):
        parts += _label(x0, y0, x, y, named, len(shown))
    style = "".join(f".map .k{t['index']}{{fill:{t['colour']}}}" for t in shown)
    return f"<style>{style}</style>" + svg.drawing(
        _WIDTH, _HEIGHT, parts, "Map of the documents, coloured by their leading topic"
    )


def _label(x0: float, y0: float, x: float, y: float, topic: Mapping[str, Any], of: int) -> list[str]:
    side = "middle" if abs(x) < min(0.2, math.pi / of) else ("start" if x > 0 else "end")
    place = (x0 + (_RADIUS + 20) * x, y0 + (_RADIUS + 22) * y + 4)
    most = next((words for topics, words in _LABELLED if of <= topics), 0)
    words = [w if len(w) <= _LONGEST_WORD else w[:_LONGEST_WORD] + "…" for w in topic["name"].split(", ")]
    said = f"{topic['index']}  {', '.join(words[:most])}".rstrip()
    rim = (x0 + _RADIUS * x, y0 + _RADIUS * y)
    return [
        svg.element(
            "circle", cx=round(rim[0], 1), cy=round(rim[1], 1), r=5, class_=f"anchor k{topic['index']}"
        ),
        svg.text(*place, said, "topic", side),
    ]


def _use(folder: str, topic: int) -> str:
    lines = (
        ["dipole", "score", "--recognizer", f"{folder}:{topic}", "-"],
        ["dipole", "point", f"{folder}:{topic}", "--model", "tiny", "--corpus", "corpus/", "--out", "notion"],
    )
    return "\n".join(visible(shell_line(line)) for line in lines)


def _facts(model: TopicModel, manifest: Mapping[str, Any]) -> list[Fact]:
    settings, training = model.settings, model.training
    bounds = ", ".join(
        f"{seed}: {bound:,.0f}{' (kept)' if k == model.kept else ''}"
        for k, (seed, bound) in enumerate(zip(model.seeds, model.bounds, strict=True))
    )
    words = manifest.get("words_per_document")
    counted = f"{len(model.vocabulary):,} of {training.all_words:,}" if training else ""
    seconds = manifest.get("seconds")
    versions = manifest.get("versions") or {}
    rows = [
        ("Documents", f"{len(training.ids):,}" if training else ""),
        ("Words a passage", f"about {words}" if words else "documents are whole"),
        ("Words counted", f"{counted} (in at least {settings.min_df} documents and at most "
                          f"{settings.max_df:.0%} of them, without English stop words"
                          + (f"; the {settings.max_words:,} that most have)" if settings.max_words else ")")),
        ("Iterations", f"{settings.iterations}, the starts compared after {settings.first}"
                       if settings.restarts > 1 else str(settings.iterations)),
        ("Bounds, nats", f"{bounds}; at the end {model.bound:,.0f}"),
        ("Last movement", f"{100 * model.moved:.2g}% of the topics’ probability"),
        ("Priors", f"{model.priors[0]:g} for a document’s topics and a topic’s words"),
        ("Took", duration(float(seconds)) if isinstance(seconds, int | float) else ""),
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items() if version)),
    ]  # fmt: skip
    return [Fact(label, one_line(value)) for label, value in rows if value]
