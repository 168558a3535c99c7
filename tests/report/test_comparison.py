"""The report of a comparison: what stands where, that user text stays text, and what the plots show."""

from __future__ import annotations

import io
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dipole.effects import Bystander, Change, Interval
from dipole.evaluation.families_matched import NOWHERE, RULE
from dipole.evaluation.families_origin import comparison_origin
from dipole.evaluation.families_records import Comparison, Curve, Matched, Point
from dipole.evaluation.families_verdict import judge_curve
from dipole.lm import LM
from dipole.report.comparison import comparison_summary, write_comparison
from dipole.report.comparison_plots import bystander_plot, dose_plot, effect_plot
from dipole.report.comparison_svg import Box, Scale, Wish, element, place_labels, ticks
from dipole.report.comparison_view import cost_rows, matched_rows, size, summary_rows
from dipole.runs import manifest
from dipole.types import Sample

from .realistic import CONCEPT
from .test_report import NASTY, Page, _cells

PROMPTS = tuple(CONCEPT["held_out"])


def a_point(
    strength: float, claim: float, kl: float, ratio: float = 1.05, in_loop: bool = False, bound: bool = False,
    bystanders: Sequence[Bystander] = (),
) -> Point:  # fmt: skip
    def change(
        name: str, unit: str, before: float | None, after: float, half: float, loop: bool = False
    ) -> Change:
        own = Interval(after, max(0.0, after - half), after + half)
        if before is None:
            return Change(name, name, unit, None, own, None, loop, 128)
        old = Interval(before, before - half, before + half)
        moved = after - before
        difference = Interval(moved, moved - half, moved + half)
        return Change(name, name, unit, old, own, difference, loop, 128)

    changes = (
        change("claim_share", "share", 0.5, claim, 0.04),
        change("against_share", "share", 0.5, 1 - claim, 0.04),
        change("velma_probability", "probability", 0.5, claim, 0.02, in_loop),
        change("velma_log_odds", "nats", 0.0, 4 * claim, 0.2, in_loop),
        change("kl", "nats/sequence", None, kl, 0.1),
        change("perplexity_ratio", "ratio", None, ratio, 0.02),
        change("distinct_2_ratio", "ratio", None, 0.93, 0.04),
        change("wrong_way_share", "share", None, 0.031, 0.03, in_loop),
        change("right_way_share", "share", None, 0.5, 0.05, in_loop),
        change("mean_bystander_shift", "probability", None, 0.0123, 0.004),
    )
    return Point(strength, changes, bound, 0.25 if strength else 1.0, tuple(bystanders))


def a_curve(label: str, points: list[Point], graded: bool = True, **changed: Any) -> Curve:
    ordered = tuple(sorted([a_point(0.0, 0.5, 0.0, 1.0), *points], key=lambda p: p.strength))
    value = Interval(0.9, 0.85, 0.95)
    matched = (
        Matched(1.0, "between", 0.75, value, value, 3.0),
        Matched(4.0, "not reached", math.nan, NOWHERE, NOWHERE, 3.0),
    )
    fields: dict[str, Any] = {
        "label": label,
        "control": label,
        "surface": "logits",
        "kind": label,
        "paper": "Somebody 2020",
        "settings": {"n": 8},
        "graded": graded,
        "null_of": "",
        "in_loop": (),
        "selected": False,
        "points": ordered,
        "matched": matched,
        "verdict": judge_curve(ordered, "claim_share", graded, ()),
        "fit_seconds": (2.0, 4.0),
        "time_ratios": (1.0, 1.25, 9.0),
        "bytes": 2500,
        "samples": tuple(Sample(p, " paper clips, always.", (1,), (2,), (-0.1,), 0, "eos") for p in PROMPTS),
        "sides": ("claim",) * len(PROMPTS),
    }
    return Curve(**{**fields, **changed})


def a_comparison(**changed: Any) -> Comparison:
    shifts = [
        Bystander("cats", 0.5, 0.71, Interval(0.21, 0.1, 0.3)),
        Bystander("tea", 0.5, 0.49, Interval(-0.01, -0.05, 0.03)),
        Bystander("bread", 0.5, math.nan, Interval(math.nan, math.nan, math.nan)),
    ]
    one = a_point(1, 0.9, 1.0, bystanders=shifts)
    boost = a_curve(
        "boost", [a_point(-1, 0.1, 0.8), a_point(0.5, 0.8, 0.36), one, a_point(2, 0.99, 4.0, 1.6)]
    )
    null = a_curve("boost: random words", [a_point(1, 0.5, 0.25)], null_of="boost", fit_seconds=())
    best = a_curve(
        "best_of", [a_point(1, 0.97, 1.2, in_loop=True, bound=True)], False, surface="decode",
        in_loop=("velma",), matched=(), fit_seconds=(1e-5,),
    )  # fmt: skip
    fields: dict[str, Any] = {
        "concept": CONCEPT,
        "prompts": PROMPTS,
        "held_out": True,
        "fitted_on": tuple(CONCEPT["prompts"]),
        "main": "claim_share",
        "base": a_point(0.0, 0.5, 0.0, 1.0),
        "curves": (boost, null, best),
        "kl_values": (1.0, 4.0),
        "kl_names": {"best_of": 1.2},
        "failed": (("pool", "There are no labels."),),
        "notes": ("best_of: only a bound of the KL is known.",),
        "settings": {
            "n": 128, "repeats": 1, "seed": 0, "max_new_tokens": 28, "bystander_n": 32, "tolerance": 0.05,
            "null": True, "strengths": [-1.0, 0.5, 1.0, 2.0], "matched_kl_rule": RULE,
        },
        "samples": tuple(Sample(p, " staples.", (1,), (2,), (-0.1,), 0, "eos") for p in PROMPTS),
        "sides": ("against",) * len(PROMPTS),
    }  # fmt: skip
    return Comparison(**{**fields, **changed})


def a_nasty_comparison() -> Comparison:
    shifts = [Bystander(name, 0.5, 0.6, Interval(0.1, 0.05, 0.2)) for name in NASTY]
    curves = tuple(
        a_curve(name, [a_point(1, 0.9, 1.0, bystanders=shifts)], settings={name: name}, paper=name)
        for name in NASTY
    )
    samples = tuple(Sample(p, " staple " + p, (1,), (2,), (-0.1,), 0, "eos") for p in NASTY)
    curves = tuple(replace(c, samples=samples, sides=("against",) * len(samples)) for c in curves)
    words = {"claim": ["**", "<script>", "paper clip"], "against": ["staple", "|"]}
    return a_comparison(
        concept={**CONCEPT, "claim": NASTY[0], "against": NASTY[1], "mentions": words},
        prompts=tuple(NASTY),
        curves=curves,
        notes=tuple(NASTY),
        samples=samples,
        sides=("against",) * len(samples),
        kl_names={NASTY[0]: 1.0},
    )


def write(folder: Path, comparison: Comparison, facts: dict[str, Any] | None = None) -> tuple[str, str, Any]:
    write_comparison(folder, comparison, facts or {})
    data = json.loads((folder / "comparison.json").read_text("utf-8"))
    return (folder / "report.html").read_text("utf-8"), (folder / "report.md").read_text("utf-8"), data


@pytest.mark.parametrize("made", ["plain", "nasty", "sweep", "nasty sweep"])
def test_page_is_self_contained_and_user_text_stays_text(made: str, tmp_path: Path) -> None:
    comparison = a_nasty_comparison() if "nasty" in made else a_comparison()
    html, markdown, _ = write(tmp_path, replace(comparison, sweep="sweep" in made))
    page = Page(html)
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "img", "link", "iframe", "object", "embed", "form", "base", "a"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name in ("src", "href")]
    assert not re.search(r"url\(|@import", html)
    assert "<svg" in html
    cells = list(_cells(markdown))
    assert cells
    assert all(head == own for head, own in cells)
    assert "<script>" not in markdown.replace("&lt;script", "")


def test_every_number_is_kept(tmp_path: Path) -> None:
    comparison = a_comparison()
    _, _, data = write(tmp_path, comparison, {"command": "dipole compare boost"})
    assert data["facts"]["command"] == "dipole compare boost"
    assert data["curves"][0]["points"][3]["changes"][4]["after"]["mean"] == 1.0
    assert data["curves"][0]["matched"][1]["value"] == {"mean": None, "low": None, "high": None}
    assert data["failed"] == [["pool", "There are no labels."]]
    assert (tmp_path / "dipole.toml").exists()


def test_summary_is_of_strength_one() -> None:
    rows = summary_rows(a_comparison())
    assert [row.label for row in rows] == ["base", "boost", "boost: random words", "best_of"]
    values = [cell.value for cell in rows[1].cells]
    assert values == [
        "90.0%", "10.0%", "0.900", "1.050×", "0.930×", "1.00", "0.012", "3.1%", "3.0 s", "1.25×", "2.5 kB",
    ]  # fmt: skip
    assert rows[1].cells[0].detail == "[86.0, 94.0]"
    assert rows[3].cells[5].value == "≤ 1.20"
    assert [rows[3].cells[i].tag for i in (2, 7)] == ["in-loop", "in-loop"]
    assert rows[3].cells[0].tag == ""
    assert [row.null for row in rows] == [False, False, True, False]


def test_matched_cells_say_what_they_are() -> None:
    row = matched_rows(a_comparison())[0]
    assert [cell.value for cell in row.cells] == ["90.0%", "not reached"]
    assert [cell.detail for cell in row.cells] == ["[85.0, 95.0] at 0.75", "ends at 3.00"]


def test_cost_is_points_a_second_and_a_kilobyte() -> None:
    rows = {row.label: [cell.value for cell in row.cells] for row in cost_rows(a_comparison())}
    assert rows["boost"] == ["+40.0", "+13.3", "+16.0", "1.25×"]  # 40 points, 3 s, 2.5 kB
    assert rows["best_of"][1] == "nothing to fit"
    assert "boost: random words" not in rows


@pytest.mark.parametrize(("count", "said"), [(812, "812 B"), (2596, "2.6 kB"), (1_340_000, "1.3 MB")])
def test_sizes(count: int, said: str) -> None:
    assert size(count) == said


def circles(svg: str, class_: str) -> list[tuple[float, float]]:
    found = re.findall(
        rf'<circle cx="([\d.]+)" cy="([\d.]+)" r="[\d.]+" class="mark {class_}( hollow)?"', svg
    )
    return [(float(x), float(y)) for x, y, _ in found]


def test_effect_is_drawn_over_the_root_of_the_kl() -> None:
    svg = effect_plot(a_comparison())
    ((x0, y0),) = circles(svg, "base")
    marks = circles(svg, "s-logits")
    assert len(marks) == 3
    # KL 0.36, 1 and 4: roots 0.6, 1 and 2; claims 80, 90 and 99 % above a base of 50.
    steps = [(x - x0) for x, _ in marks]
    assert steps[1] / steps[0] == pytest.approx(1 / 0.6, rel=0.01)
    assert steps[2] / steps[1] == pytest.approx(2.0, rel=0.01)
    rises = [(y0 - y) for _, y in marks]
    assert rises[1] / rises[0] == pytest.approx(40 / 30, rel=0.01)
    assert rises[2] / rises[1] == pytest.approx(49 / 40, rel=0.01)
    assert svg.count(" hollow") == 1  # the perplexity of strength 2 is beyond the target's
    assert svg.count('class="bound') == 1
    assert all(f">{curve.label}</text>" in svg for curve in a_comparison().curves)


def test_what_is_far_out_does_not_press_the_rest_to_the_left() -> None:
    comparison = a_comparison()
    boost = comparison.curves[0]
    far = replace(boost, points=(*boost.points, a_point(4, 0.2, 300.0, 9.0)))
    assert effect_plot(replace(comparison, curves=(far, *comparison.curves[1:]))) == effect_plot(comparison)


def test_a_point_too_far_out_is_left_out_of_the_plot() -> None:
    comparison = a_comparison()
    pool = a_curve("pool", [a_point(1, 0.5, 60.0, 16.0)], False, surface="tokens")
    assert effect_plot(replace(comparison, curves=(*comparison.curves, pool))) == effect_plot(comparison)
    assert effect_plot(replace(comparison, curves=(pool,))) == ""


def test_dose_is_drawn_over_the_strength_with_both_sides() -> None:
    comparison = a_comparison()
    svg = dose_plot(comparison, comparison.curves[0])
    claim = circles(svg, "claim-side")
    against = circles(svg, "against-side")
    assert len(claim) == len(against) == 5
    xs = [x for x, _ in claim]
    gaps = [b - a for a, b in pairwise(xs)]
    assert gaps[0] / gaps[1] == pytest.approx(1 / 0.5, rel=0.02)  # -1, 0, 0.5, 1, 2
    assert claim[1][1] == pytest.approx(against[1][1], abs=0.1)
    assert claim[0][1] > against[0][1]  # at -1 the counterclaim is on top
    assert svg.count('class="curve null"') == 1
    assert svg.count("band claim-side") == 1


def test_bystanders_have_numbers_only_where_they_are_sure() -> None:
    svg = bystander_plot(a_comparison())
    assert svg.count("<rect") == 3
    assert re.findall(r'class="cell-text[^"]*"[^>]*>([^<]*)<', svg) == ["+21"]
    assert 'class="cell unknown"' in svg
    assert bystander_plot(a_comparison(curves=a_comparison().curves[1:])) == ""


def test_labels_keep_apart_and_inside() -> None:
    chance = random.Random(0)
    frame = Box(0, 0, 900, 400)
    points = [(chance.uniform(300, 890), chance.uniform(20, 60)) for _ in range(10)]
    wishes = [
        Wish("control number " + "x" * chance.randint(0, 9), [p, (p[0] - 90, p[1] + 120)]) for p in points
    ]
    placed = place_labels(wishes, points, [], frame)
    boxes = [Box(p.x, p.y - 9.75, p.x + 7.0 * len(p.text), p.y + 3.25) for p in placed]
    for i, a in enumerate(boxes):
        assert a.left >= frame.left
        assert a.right <= frame.right
        for b in boxes[i + 1 :]:
            assert a.right <= b.left or b.right <= a.left or a.bottom <= b.top or b.bottom <= a.top


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.4, 1.0), (-3.7, 12.2), (0.0, 0.003)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 6
    assert all(low - 1e-9 <= t <= high + 1e-9 for t in found)
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) == 1
    assert float(f"{steps.pop():.2e}".split("e")[0]) in (1.0, 2.0, 2.5, 5.0)


def test_scale_keeps_to_its_ends() -> None:
    scale = Scale(0.0, 2.0, 100.0, 200.0)
    assert [scale(v) for v in (-1.0, 0.0, 0.5, 2.0, 9.0)] == [100.0, 100.0, 125.0, 200.0, 200.0]


@pytest.mark.parametrize("sweep", [False, True])
def test_terminal_summary_fits_80_columns(sweep: bool) -> None:
    stream = io.StringIO()
    comparison_summary(a_comparison(sweep=sweep), Console(file=stream, width=80))
    printed = stream.getvalue()
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert printed.startswith("Note: best_of")
    assert "90.0%" in printed
    assert "It reaches 85%" in printed.replace("\n", " ")


def test_a_dipole_without_mentions_is_reported_by_velma(tmp_path: Path) -> None:
    def bare(curve: Curve) -> Curve:
        points = tuple(
            replace(p, changes=tuple(c for c in p.changes if c.name not in ("claim_share", "against_share")))
            for p in curve.points
        )
        return replace(curve, points=points)

    comparison = a_comparison()
    base = bare(replace(comparison.curves[0], points=(comparison.base,))).points[0]
    made = replace(
        comparison, main="velma_probability", base=base, curves=tuple(map(bare, comparison.curves))
    )
    html, markdown, _ = write(tmp_path, made)
    assert "VELMA probability of the claim" in html
    assert "counterclaim</span>" not in html
    assert "–" in markdown


def test_facts_say_what_is_needed_to_repeat_it(tmp_path: Path, mini: LM) -> None:
    moment = datetime(2026, 11, 21, 12, tzinfo=UTC)
    origin = comparison_origin(mini, a_comparison(), moment)
    facts = manifest(origin, "runs/c", ["dipole", "compare", "boost"])
    assert facts["control"]["fields"]["controls"] == ["boost", "best_of"]
    assert facts["controls"]["boost"] == {"name": "boost", "fields": {"n": 8}}
    assert facts["model"]["fingerprint"] == mini.resident.fingerprint
    html, _, _ = write(tmp_path, a_comparison(), facts)
    assert "dipole compare boost" in html
    assert mini.resident.fingerprint in html


def test_attributes_are_escaped() -> None:
    assert element("rect", class_='a" onload="x', stroke_width="<1>") == (
        '<rect class="a&quot; onload=&quot;x" stroke-width="&lt;1&gt;"/>'
    )


def test_a_comparison_prints_a_line_a_control() -> None:
    comparison = a_nasty_comparison()
    lines = str(comparison).splitlines()
    one = comparison.curves[0].at(1.0)
    assert one is not None
    header = next(i for i, line in enumerate(lines) if line.split()[:2] == ["claim", "share"])
    assert lines[header + 1].split()[0] == "base"
    row = lines[header + 2]
    assert row.split()[0] == comparison.curves[0].label
    kl, perplexity = (f"{one[name].after.mean:.3f}" for name in ("kl", "perplexity_ratio"))
    assert row.split()[-2:] == [perplexity, kl]
    assert not any(mark in str(comparison) for mark in "\x1b\u202e\r")
