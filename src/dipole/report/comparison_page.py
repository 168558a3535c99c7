"""The report of a comparison as one self-contained HTML page and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dipole.evaluation.families import Comparison, Curve
from dipole.evaluation.families_records import PERPLEXITY_TARGET
from dipole.report import comparison_view as view
from dipole.report.comparison_plots import bystander_plot, dose_plot, effect_plot, kl_limit
from dipole.report.facts import Fact, facts, model_name
from dipole.report.markdown import escape, fenced, marked, table
from dipole.report.templates import template
from dipole.shown.numbers import number
from dipole.shown.text import one_line, visible

_SURFACES = ("prompt", "tokens", "logits", "activations", "weights", "decode")


def render_comparison_html(comparison: Comparison, manifest: Mapping[str, Any]) -> str:
    """The page, without scripts and without a request to anywhere."""
    bystanders = bystander_plot(comparison)
    data = {
        **_words(comparison, manifest),
        "sweep": comparison.sweep,
        "limit": f"{PERPLEXITY_TARGET:g}",
        "kl_limit": f"{kl_limit(comparison):.3g}",
        "both_sides": comparison.main == "claim_share",
        "has_null": any(c.null_of for c in comparison.curves),
        "surfaces": [
            s for s in _SURFACES if any(c.surface == s and not c.null_of for c in comparison.curves)
        ],
        "summary_header": view.SUMMARY,
        "summary": view.summary_rows(comparison),
        "legend": view.legend(comparison),
        "other_header": view.other_header(comparison),
        "others": view.other_rows(comparison),
        "effect": effect_plot(comparison),
        "matched_header": view.matched_header(comparison),
        "matched": view.matched_rows(comparison),
        "matched_legend": view.matched_legend(comparison),
        "panels": [_panel(comparison, c) for c in comparison.curves if not (c.null_of and comparison.sweep)],
        "strength_header": view.strength_header(),
        "bystanders": bystanders,
        "verdicts": view.verdicts(comparison),
        "target": view.target_text(),
        "cost_header": view.COST,
        "cost": view.cost_rows(comparison),
        "completions": view.completions(comparison),
    }
    return str(template("comparison.html.jinja").render(view=data))


def _words(comparison: Comparison, manifest: Mapping[str, Any]) -> dict[str, Any]:
    known = facts(manifest)
    return {
        "title": one_line(
            str(comparison.concept.get("claim") or comparison.concept.get("name") or "Comparison")
        ),
        "against": one_line(str(comparison.concept.get("against", ""))),
        "model": one_line(model_name(manifest)) if manifest.get("model") else "",
        "notes": [one_line(note) for note in comparison.notes],
        "heading": view.heading_line(comparison),
        "main_label": view.MAIN_LABELS[comparison.main],
        "command": visible(str(manifest.get("command") or "")),
        "facts": [*known, *_settings(comparison)],
    }


def _settings(comparison: Comparison) -> list[Fact]:
    """Fields of every control that was fitted here."""
    found = []
    for curve in comparison.curves:
        if curve.settings:
            said = ", ".join(
                f"{key} {value}" for key, value in curve.settings.items() if value not in ("", None)
            )
            found.append(Fact(one_line(curve.label), one_line(said)))
    return found


def _panel(comparison: Comparison, curve: Curve) -> dict[str, Any]:
    one = curve.at(1.0)
    caption = ""
    if one is not None:
        bound = "≤ " if one.kl_is_bound else ""
        ratio = number(one["perplexity_ratio"].after.mean, "ratio")
        caption = f"at 1: KL {bound}{number(one['kl'].after.mean)}, perplexity {ratio}×"
    return {
        "label": one_line(curve.label),
        "surface": curve.surface,
        "caption": caption,
        "plot": "" if curve.null_of else dose_plot(comparison, curve, wide=comparison.sweep),
        "rows": view.strength_rows(curve),
        "sentences": [one_line(sentence) for sentence in curve.verdict.sentences],
    }


def render_comparison_markdown(comparison: Comparison, manifest: Mapping[str, Any]) -> str:
    """The same as Markdown, without the plots."""
    words = _words(comparison, manifest)
    blocks = [f"# {escape(words['title'])}"]
    if words["against"]:
        blocks.append(f"against ~~{escape(words['against'])}~~")
    blocks += [f"> **Note.** {escape(note)}" for note in words["notes"]]
    blocks.append(escape(words["heading"]))
    if not comparison.sweep:
        blocks += ["## At strength 1", _rows(view.SUMMARY, view.summary_rows(comparison))]
        blocks.append(escape(view.legend(comparison)))
        blocks += [
            "## Effect at matched KL",
            _rows(view.matched_header(comparison), view.matched_rows(comparison)),
        ]
        blocks.append(escape(view.matched_legend(comparison)))
    others = view.other_rows(comparison)
    if others:
        blocks += ["## Other meters", _rows(view.other_header(comparison), others)]
    blocks += ["## What each came to"] if not comparison.sweep else []
    for v in view.verdicts(comparison):
        paper = f" ({escape(v.paper)})" if v.paper else ""
        blocks.append(f"**{escape(v.label)}**{paper}\n\n" + "\n".join(f"- {escape(s)}" for s in v.sentences))
    if not comparison.sweep:
        blocks += ["## Effect for its cost", _rows(view.COST, view.cost_rows(comparison))]
    blocks += [*_strengths(comparison), *_bystanders(comparison), *_completions(comparison)]
    blocks += ["## Reproduce", fenced(words["command"]) if words["command"] else ""]
    if words["facts"]:
        blocks.append(table(("", ""), "ll", ((escape(f.label), escape(f.value)) for f in words["facts"])))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _rows(header: Sequence[str], rows: Sequence[view.SummaryRow]) -> str:
    lines = (
        (
            escape(row.label),
            escape(row.surface) + (", null" if row.null else ""),
            *(_cell(cell) for cell in row.cells),
        )
        for row in rows
    )
    return table(("control", "surface", *map(escape, header)), "ll" + "r" * len(header), lines)


def _cell(cell: view.Cell) -> str:
    detail = cell.detail if cell.detail.startswith("[") or not cell.detail else f"({cell.detail})"
    detail = f" {escape(detail)}" if detail else ""
    return escape(cell.value) + detail + (" **in-loop**" if cell.tag == "in-loop" else "")


def _strengths(comparison: Comparison) -> list[str]:
    blocks = ["## All strengths"]
    header = view.strength_header()
    for curve in comparison.curves:
        rows = ([_cell(cell) for cell in row] for row in view.strength_rows(curve))
        blocks += [f"**{escape(curve.label)}**", table(header, "r" * len(header), rows)]
    return blocks


def _bystanders(comparison: Comparison) -> list[str]:
    curves = [(c, p.bystanders) for c in comparison.curves if (p := c.at(1.0)) is not None and p.bystanders]
    if not curves:
        return []
    names = dict.fromkeys(b.name for _, shifts in curves for b in shifts)
    rows = []
    for name in names:
        found = [next((b.shift for b in shifts if b.name == name), None) for _, shifts in curves]
        rows.append([escape(name), *(view.shift_text(shift) for shift in found)])
    return [
        "## Bystanders",
        "Shift of each bystander's claim at strength 1, in points of VELMA's probability; bold where the "
        "interval excludes 0.",
        table(("dipole", *(escape(c.label) for c, _ in curves)), "l" + "r" * len(curves), rows),
    ]


def _completions(comparison: Comparison) -> list[str]:
    groups = view.completions(comparison)
    blocks = ["## Completions"] if groups else []
    for group in groups:
        rows = ((escape(row.label), marked(row.cut)) for row in group.rows)
        blocks += [f"**{escape(group.prompt)}**{group.gap}", table(("", ""), "ll", rows)]
    return blocks
