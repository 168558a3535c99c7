"""What the report of a comparison says, as plain text cells: HTML, Markdown and terminal only lay it out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from dipole.effects import Interval
from dipole.evaluation.families import Comparison, Curve, Matched, Point
from dipole.evaluation.families_records import CLAIM_TARGET, PERPLEXITY_TARGET
from dipole.report.page import gap_of
from dipole.shown.numbers import NONE, change, duration, number, plain_bounds
from dipole.shown.text import Piece, concept_mentions, one_line, pieces

SHOWN_PROMPTS = 4
MAIN_LABELS = {"claim_share": "claim", "velma_probability": "VELMA"}


class Cell(NamedTuple):
    """A value with what stands beside it in small print."""

    value: str
    detail: str = ""
    tag: str = ""


class SummaryRow(NamedTuple):
    """One control at strength 1.

    Attributes:
        label: Its name.
        surface: Where it acts; empty for the base.
        null: Whether it is a null.
        cells: In the order of `SUMMARY`.
    """

    label: str
    surface: str
    null: bool
    cells: tuple[Cell, ...]


class Verdicts(NamedTuple):
    """What one control came to."""

    label: str
    paper: str
    surface: str
    sentences: tuple[str, ...]


class Shown(NamedTuple):
    """One completion, cut at its mentions."""

    label: str
    cut: list[Piece]
    side: str | None


class ShownPrompt(NamedTuple):
    """One prompt as the base and every control continue it from the same random numbers."""

    prompt: str
    rows: tuple[Shown, ...]
    gap: str


SUMMARY = (
    "claim", "counterclaim", "VELMA", "perplexity", "distinct-2", "KL", "bystanders", "wrong way", "fit",
    "time a token", "size",
)  # fmt: skip
LEGEND = (
    "Everything at strength 1, on prompts that nothing was fitted on. Claim and counterclaim: share of "
    "completions that name that side first, with 95% intervals. Perplexity: under the base, over the base’s "
    "own. Distinct-2: distinct word pairs, over the base’s. KL: nats a sequence, exact over the vocabulary. "
    "Bystanders: mean size of the shift of other dipoles, in probability. Wrong way: inputs whose VELMA "
    "probability fell by more than {tolerance:g}. Time a token: over the base’s. Size: the saved artefact."
)
MATCHED_LEGEND = (
    "The effect at the same distance from the base: {rule}. Under it, the strength. Intervals resample "
    "effect and KL together. A control without graded strength has one distance of its own, to which the "
    "others are compared too."
)


def legend(comparison: Comparison) -> str:
    """What the columns of the summary are."""
    return LEGEND.format(tolerance=comparison.settings["tolerance"])


def matched_legend(comparison: Comparison) -> str:
    """What the table of matched effects is."""
    return MATCHED_LEGEND.format(rule=comparison.settings["matched_kl_rule"])


def heading_line(comparison: Comparison) -> str:
    """The sentence under the title: what was compared with what."""
    n, repeats = comparison.settings["n"], comparison.settings["repeats"]
    proper = [curve for curve in comparison.curves if not curve.null_of]
    who = f"{len(proper)} controls were" if len(proper) != 1 else f"{one_line(proper[0].label)} was"
    where = "held-out prompts" if comparison.held_out else "of the same prompts"
    times = f", {repeats} times with other seeds" if repeats > 1 else ""
    same = "the same " if len(proper) != 1 else ""
    return (
        f"{who} fitted on {same}{len(comparison.fitted_on)} prompts and measured on "
        f"{len(comparison.prompts)} {where} with {n} completions a point{times}, from common random numbers."
    )


def summary_rows(comparison: Comparison) -> list[SummaryRow]:
    """The base, then every control at strength 1."""
    rows = [SummaryRow("base", "", False, _cells(None, comparison.base))]
    for curve in comparison.curves:
        one = curve.at(1.0)
        cells = _cells(curve, one) if one is not None else (Cell(NONE),) * len(SUMMARY)
        rows.append(SummaryRow(one_line(curve.label), curve.surface, bool(curve.null_of), cells))
    return rows


def _cells(curve: Curve | None, point: Point) -> tuple[Cell, ...]:
    velma_tag = "in-loop" if curve is not None and "velma" in curve.in_loop else ""
    side_tag = "in-loop" if curve is not None and "mentions" in curve.in_loop else ""
    measured = [
        _share(point, "claim_share", side_tag),
        _share(point, "against_share", side_tag),
        Cell(number(_mean(point, "velma_probability"), "probability"), "", velma_tag),
        _ratio(point, "perplexity_ratio", PERPLEXITY_TARGET),
        _ratio(point, "distinct_2_ratio", math.inf),
    ]
    if curve is None:
        return (*measured, Cell("0"), Cell(NONE), Cell(NONE), Cell(NONE), Cell("1×"), Cell(NONE))
    wrong = point.get("wrong_way_share")
    kl = point["kl"].after
    bound = "≤ " if point.kl_is_bound else ""
    return (
        *measured,
        Cell(f"{bound}{number(kl.mean)}", "" if point.kl_is_bound else plain_bounds(kl)),
        Cell(number(_mean(point, "mean_bystander_shift"), "probability"), _floor(point)),
        Cell(number(wrong.after.mean, "share") if wrong else NONE, "", velma_tag),
        Cell(_fit_time(curve), ""),
        Cell(_times(curve.time_ratios)),
        Cell(size(curve.bytes)),
    )


def _share(point: Point, name: str, tag: str) -> Cell:
    found = point.get(name)
    if found is None:
        return Cell(NONE)
    return Cell(number(found.after.mean, "share"), plain_bounds(found.after, "share").replace("%", ""), tag)


def _ratio(point: Point, name: str, limit: float) -> Cell:
    value = _mean(point, name)
    return Cell(f"{number(value, 'ratio')}×", "", "high" if value > limit else "")


def _floor(point: Point) -> str:
    found = point.get("bystander_noise_floor")
    return f"noise {number(found.after.mean, 'probability')}" if found is not None else ""


def _mean(point: Point, name: str) -> float:
    found = point.get(name)
    return found.after.mean if found is not None else math.nan


def _fit_time(curve: Curve) -> str:
    if not curve.fit_seconds:
        return NONE
    seconds = sum(curve.fit_seconds) / len(curve.fit_seconds)
    return duration(seconds) if seconds >= 0.05 else "none"


def _times(ratios: Sequence[float]) -> str:
    if not ratios:
        return NONE
    ordered = sorted(ratios)
    return f"{ordered[len(ordered) // 2]:.2f}×"


def size(count: int) -> str:
    """`812 B`, `2.6 kB` or `1.3 MB`."""
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} B"


def other_meters(comparison: Comparison) -> list[str]:
    """Names of the quantities that were asked for beside the usual ones."""
    return list(comparison.settings.get("meters", ()))


def other_header(comparison: Comparison) -> list[str]:
    """Their labels, with units."""
    found = [comparison.base.get(name) for name in other_meters(comparison)]
    units = [(c.label, c.unit if c.unit not in ("share", "probability", "ratio") else "") for c in found if c]
    return [one_line(f"{label}, {unit}" if unit else label) for label, unit in units]


def other_rows(comparison: Comparison) -> list[SummaryRow]:
    """Those quantities for the base and every control: at strength 1, or in a sweep at all strengths."""
    names = other_meters(comparison)
    rows = [SummaryRow("base", "", False, _measured(comparison.base, names))]
    for curve in comparison.curves:
        for point in curve.points:
            if point.strength == 1.0 or (comparison.sweep and point.strength != 0.0):
                at = f" at {point.strength:g}" if comparison.sweep else ""
                label, null = one_line(curve.label + at), bool(curve.null_of)
                rows.append(SummaryRow(label, curve.surface, null, _measured(point, names)))
    return rows if names else []


def _measured(point: Point, names: Sequence[str]) -> tuple[Cell, ...]:
    cells = []
    for name in names:
        found = point.get(name)
        if found is None:
            cells.append(Cell(NONE))
            continue
        tag = "in-loop" if found.in_loop else ""
        cells.append(Cell(number(found.after.mean, found.unit), _range(found.after, found.unit), tag))
    return tuple(cells)


def matched_header(comparison: Comparison) -> list[str]:
    """The distances that effects are compared at."""
    bounded = {c.label for c in comparison.curves if (p := c.at(1.0)) is not None and p.kl_is_bound}
    own = [
        f"{one_line(label)}’s {'≤ ' if label in bounded else ''}{number(kl)} nats"
        for label, kl in comparison.kl_names.items()
    ]
    return [f"{kl:g} nats" for kl in comparison.kl_values] + own


def matched_rows(comparison: Comparison) -> list[SummaryRow]:
    """The effect of every control at those distances."""
    return [
        SummaryRow(
            one_line(curve.label),
            curve.surface,
            bool(curve.null_of),
            tuple(_matched(m) for m in curve.matched),
        )
        for curve in comparison.curves
        if curve.matched
    ]


def _matched(found: Matched) -> Cell:
    if found.state == "not reached":
        return Cell("not reached", f"ends at {number(found.farthest)}", "none")
    if found.state == "no curve":
        return Cell(NONE, "", "none")
    detail = plain_bounds(found.value, "share").replace("%", "")
    if found.state == "between":
        return Cell(number(found.value.mean, "share"), f"{detail} at {found.strength:.2f}")
    return Cell(number(found.value.mean, "share"), detail, "own")


COST = ("gain, points", "a second of fitting", "a kilobyte", "time a token")


def cost_rows(comparison: Comparison) -> list[SummaryRow]:
    """What the effect cost: points of the main quantity gained at strength 1, each second and kilobyte."""
    rows = []
    for curve in comparison.curves:
        if curve.null_of or curve.at(1.0) is None:
            continue
        second, byte = curve.gain_a_second(comparison.main), curve.gain_a_byte(comparison.main)
        free = curve.fit_seconds and _fit_time(curve) == "none"
        cells = (
            Cell(change(curve.gain(comparison.main), "share")),
            Cell("nothing to fit" if free else change(100 * second, "")),
            Cell(change(1e5 * byte, "")),
            Cell(_times(curve.time_ratios)),
        )
        rows.append(SummaryRow(one_line(curve.label), curve.surface, False, cells))
    return rows


STRENGTH_TABLE = (
    ("claim", "claim_share", "share"),
    ("counterclaim", "against_share", "share"),
    ("VELMA", "velma_probability", "probability"),
    ("KL", "kl", ""),
    ("perplexity", "perplexity_ratio", "ratio"),
    ("distinct-2", "distinct_2_ratio", "ratio"),
    ("wrong way", "wrong_way_share", "share"),
    ("right way", "right_way_share", "share"),
    ("same", "", "share"),
)


def strength_header() -> list[str]:
    """Columns of the table of all strengths of one control."""
    return ["strength", *(label for label, _, _ in STRENGTH_TABLE)]


def strength_rows(curve: Curve) -> list[tuple[Cell, ...]]:
    """All strengths of one control."""
    rows = []
    for point in curve.points:
        cells = [Cell(change(point.strength, "").rstrip("0").rstrip(".") if point.strength else "0")]
        for _, name, unit in STRENGTH_TABLE:
            if not name:
                cells.append(Cell(number(point.same, unit)))
                continue
            found = point.get(name)
            mark = "≤ " if name == "kl" and point.kl_is_bound else ""
            value = found.after if found is not None else None
            cells.append(Cell(mark + number(value.mean if value else None, unit), _range(value, unit)))
        rows.append(tuple(cells))
    return rows


def _range(value: Interval | None, unit: str) -> str:
    return plain_bounds(value, unit).replace("%", "")


def verdicts(comparison: Comparison) -> list[Verdicts]:
    """What every control came to, in sentences."""
    return [
        Verdicts(
            one_line(c.label),
            one_line(c.paper),
            c.surface,
            tuple(map(one_line, c.verdict.sentences)),
        )
        for c in comparison.curves
        if not c.null_of  # its control's sentences speak of it
    ]


def completions(comparison: Comparison) -> list[ShownPrompt]:
    """The first completion of a few prompts by the base and by every control, from one seed."""
    mentions = concept_mentions(comparison.concept)
    shown = []
    for prompt in _spread(comparison.prompts, SHOWN_PROMPTS):
        index = next((i for i, s in enumerate(comparison.samples) if s.prompt == prompt), None)
        if index is None:
            continue
        rows = [
            Shown("base", pieces(comparison.samples[index].text.strip(), mentions), comparison.sides[index])
        ]
        for curve in comparison.curves:
            if len(curve.samples) > index and not curve.null_of:
                cut = pieces(curve.samples[index].text.strip(), mentions)
                rows.append(Shown(one_line(curve.label), cut, curve.sides[index]))
        shown.append(
            ShownPrompt(one_line(prompt) or "(empty prompt)", tuple(rows), gap_of(comparison.samples))
        )
    return shown


def _spread(prompts: Sequence[str], most: int) -> list[str]:
    if len(prompts) <= most:
        return list(prompts)
    return [prompts[i * len(prompts) // most] for i in range(most)]


def target_text() -> str:
    """The target that graded controls are held to."""
    return (
        f"{CLAIM_TARGET:.0%} for the claim with perplexity within {PERPLEXITY_TARGET:g} times the base’s own"
    )


def shift_text(shift: Interval | None) -> str:
    """A bystander's shift in points, bold in Markdown where its interval excludes 0."""
    if shift is None or math.isnan(shift.mean):
        return NONE
    points = change(100 * shift.mean, "")
    return f"**{points}**" if shift.excludes_zero else points
