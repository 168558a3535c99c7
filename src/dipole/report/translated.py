"""The page of a translated vector: the map, and how the vector steers beside the native one and nulls."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipole.report.card import card_of, front_matter
from dipole.report.comparison_svg import Scale, band, drawing, element, line, path, text, tick_text, title
from dipole.report.facts import facts as manifest_facts
from dipole.report.facts import model_name
from dipole.report.markdown import escape, table
from dipole.report.templates import template
from dipole.shown.numbers import number, plain_bounds
from dipole.shown.text import one_line, shell_line, visible
from dipole.stitching.said import label_of, layer_rows, notes, response_rows, verdict

if TYPE_CHECKING:
    from dipole.evaluation.response import Response
    from dipole.interventions.activations import SteeringVector
    from dipole.stitching.transfer import Transfer

_WIDTH, _HEIGHT = 720.0, 330.0
_COLOURS = {"source": "s-weights", "native": "claim-side", "translated": "s-activations"}


def render_translated_html(vector: SteeringVector, manifest: Mapping[str, Any]) -> str:
    """The page, without scripts and without a request to anywhere.

    Args:
        vector: As it is saved, with its facts.
        manifest: What reproduces it.
    """
    facts = vector.facts
    transfer = facts["verification"]
    concept = manifest.get("concept") or {}
    folder = str(manifest.get("out") or "FOLDER")
    use = ["dipole", "generate", "…", "--intervention", f"{folder}:1"]
    data = {
        "title": one_line(str(concept.get("claim") or f"A vector of {facts['source']['model']}")),
        "against": one_line(str(concept.get("against") or "")),
        "source": one_line(f"{facts['source']['model']}, layer {facts['source']['layer']}"),
        "target": one_line(f"{model_name(manifest)}, layer {vector.layers[0]}"),
        "notes": notes(facts, transfer),
        "verdict": verdict(facts, transfer),
        "plot": "" if transfer is None else response_plot(transfer),
        "keys": [] if transfer is None else [(r.label, _colour(r)) for r in transfer.responses],
        "vectors": None if transfer is None else response_rows(transfer),
        "cosine": "" if transfer is None else _cosine(transfer),
        "layers": layer_rows(facts),
        "numbers": _numbers(facts),
        "near": [one_line(prompt) for prompt in facts["near"]],
        "use": visible(shell_line(use)),
        "command": visible(str(manifest.get("command") or "")),
        "facts": manifest_facts(manifest),
    }
    return str(template("translated.html.jinja").render(view=data))


def translated_card(vector: SteeringVector, manifest: Mapping[str, Any]) -> str:
    """The README.md of the folder, with the front matter that the hub reads."""
    facts = vector.facts
    transfer = facts["verification"]
    target, origin = one_line(model_name(manifest)), one_line(str(facts["source"]["model"]))
    header, rows = layer_rows(facts)
    blocks = [
        front_matter("dipole", "", "steering-vector"),
        f"# A steering vector for {escape(target)}, translated from {escape(origin)}",
        escape(verdict(facts, transfer)),
        *(f"> **Note.** {escape(note)}" for note in notes(facts, transfer)),
        "## The map",
        table([escape(h) for h in header], "r" * len(header), [[escape(c) for c in row] for row in rows]),
        "\n".join(f"- {escape(label)}: {escape(value)}" for label, value in _numbers(facts)),
    ]
    if transfer is not None:
        header, rows = response_rows(transfer)
        align = "l" + "r" * (len(header) - 1)
        blocks += [
            "## The effect",
            table([escape(h) for h in header], align, [[escape(c) for c in row] for row in rows]),
            escape(_cosine(transfer)),
        ]
    return card_of(blocks)


def response_plot(transfer: Transfer) -> str:
    """Preference m against the strength for every vector, with intervals for the one translated."""
    x = Scale(transfer.strengths[0], transfer.strengths[-1], 46.0, _WIDTH - 14.0)
    y = Scale(0.0, 1.0, _HEIGHT - 40.0, 22.0)
    parts = []
    for value in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(line(x.start, y(value), x.end, y(value), "grid"))
        parts.append(text(x.start - 8, y(value) + 4, f"{value:.2f}", "tick", "end"))
    parts.append(line(x(0.0), y.start, x(0.0), y.end, "axis-line"))
    for strength in transfer.strengths:
        parts.append(text(x(strength), y.start + 16, tick_text(strength), "tick", "middle"))
    parts.append(text(x.end, _HEIGHT - 4, "strength", "tick", "end"))
    parts.append(text(4, 12, "m: preference for the claim", "tick"))
    for response in sorted(transfer.responses, key=lambda r: r.name in _COLOURS):
        parts += _curve(response, transfer, x, y)
    return drawing(_WIDTH, _HEIGHT, parts, "Preference for the claim against strength, for every vector.")


def _curve(response: Response, transfer: Transfer, x: Scale, y: Scale) -> list[str]:
    colour = _colour(response)
    known = list(zip(transfer.strengths, response.curve, strict=True))
    parts = []
    bounded = [(s, v) for s, v in known if math.isfinite(v.low) and math.isfinite(v.high)]
    if response.name in ("native", "translated"):
        upper, lower = ([(x(s), y(getattr(v, end))) for s, v in bounded] for end in ("high", "low"))
        parts.append(band(upper, lower, f"band {colour}"))
    parts.append(path([(x(s), y(v.mean)) for s, v in known], f"curve {colour}"))
    for s, v in known:
        words = title(f"{label_of(response)}, strength {tick_text(s)}: {number(v.mean)} {plain_bounds(v)}")
        parts.append(element("circle", words, cx=x(s), cy=y(v.mean), r=3, class_=f"mark {colour}"))
    return parts


def _colour(response: Response) -> str:
    return _COLOURS.get(response.name, "null")


def _cosine(transfer: Transfer) -> str:
    c = transfer.cosine
    return (
        f"Cosine with the native direction at the same layer: {number(c.cosine)}; of random vectors through "
        f"the same map {number(c.null_mean)} ± {number(c.null_deviation)} (mean ± standard deviation)."
    )


def _numbers(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    corpus, made = facts["corpus"], facts["map"]
    return [
        ("Documents", f"{corpus['documents']:,} ({corpus['unpaired']:,} without a pair)"),
        (
            "Tokens that end together",
            f"{corpus['pairs']:,}, {number(corpus['kept'], 'share')} of the coarser",
        ),
        ("Rows to fit on", f"{made['rows']:,}, by their weights as good as {made['effective_rows']:,.0f}"),
        ("Steepness of the weights", f"cosine to the power {facts['power']:.2f}"),
        ("Effective rank of the map", number(facts["effective_rank"])),
        ("Share of the vector inside its span", number(facts["share_inside"], "share")),
        ("Norm through the map", f"{facts['shrinkage']:.2f} of the norm before"),
        ("Norm at strength 1", f"{facts['relative_norm']:.2f} of the median state's"),
        ("Hash of the corpus", str(corpus["hash"])),
    ]
