"""Two logs of the same items."""

from __future__ import annotations

import csv
import json
import math
import random
import zipfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import dipole
from dipole.evaluation.diff_maths import holm, mcnemar, paired
from dipole.evaluation.logs import Measure, read_log
from dipole.types import UserError


def write_lines(path: Path, rows: Sequence[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def harness_row(number: int, right: float, behind: str = "none", **more: Any) -> dict[str, Any]:
    return {
        "doc_id": number, "doc": {"passage": f"p{number // 3}"}, "target": "A", "resps": [["A"]],
        "filter": behind, "metrics": ["acc", "pair"], "doc_hash": f"h{number}", "acc": right,
        "pair": [1, 2], **more,
    }  # fmt: skip


def inspect_log(values: Sequence[Any], epochs: int = 1) -> dict[str, Any]:
    samples = [
        {
            "id": n,
            "epoch": e + 1,
            "input": f"q{n}",
            "scores": {"match": {"value": v}},
            "metadata": {"by": n % 2},
        }
        for n, v in enumerate(values)
        for e in range(epochs)
    ]
    return {"version": 2, "status": "success", "eval": {"task": "sums", "model": "m"}, "samples": samples}


def slow_flip(changes: Sequence[float]) -> float:
    moved = [c for c in changes if c]
    total, hits = abs(sum(moved)), 0
    for signs in product((-1, 1), repeat=len(moved)):
        hits += abs(sum(s * c for s, c in zip(signs, moved, strict=True))) >= total - 1e-9
    return hits / 2 ** len(moved)


def test_means_error_and_p_by_hand() -> None:
    found = paired([0, 0, 1, 1, 0, 1], [1, 1, 1, 0, 1, 1])
    assert (found.before, found.after, found.up, found.down) == (0.5, pytest.approx(5 / 6), 3, 1)
    changes = [1, 1, 0, -1, 1, 0]
    mean = sum(changes) / 6
    error = math.sqrt(sum((c - mean) ** 2 for c in changes) / 5 / 6)
    assert found.error == pytest.approx(error)
    assert found.difference.high == pytest.approx(mean + 2.570581836 * error)  # Student's t of 5 degrees
    assert found.p == pytest.approx(10 / 16)  # 0, 1, 3 or 4 of 4 coins
    assert found.wrong_way == 0.25
    assert found.p == pytest.approx(slow_flip(changes))


def test_sizes_that_differ_are_tried_with_every_sign() -> None:
    after = [0.3, -0.1, 0.25, 0.4, 0.05, 0.0]
    assert paired([0.0] * 6, after).p == pytest.approx(slow_flip(after))


def test_what_belongs_together_counts_as_one() -> None:
    """Ten clusters of five copies know as much as ten items."""
    draw = random.Random(1)
    before, after = ([draw.random() for _ in range(10)] for _ in range(2))
    alone = paired(before, after)
    names = [f"c{n}" for n in range(10) for _ in range(5)]
    copies = paired([b for b in before for _ in range(5)], [a for a in after for _ in range(5)], names)
    assert (copies.items, copies.groups) == (50, 10)
    assert copies.error == pytest.approx(alone.error)
    assert copies.p == pytest.approx(alone.p)
    assert paired([0, 0, 1], [1, 1, 1], ["a", "a", "b"]).groups == 3  # too few clusters to speak of others


def test_nothing_that_changed_is_no_certainty() -> None:
    found = paired([1.0] * 20, [1.0] * 20)
    assert (found.difference.mean, found.p, found.needed(0.1)) == (0, 1, None)
    assert 0.1 < found.difference.high == -found.difference.low < 0.2
    assert math.isnan(paired([1.0], [0.0]).p)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, math.nan, 0.03]) == pytest.approx([0.03, 0.06, math.nan, 0.06], nan_ok=True)
    assert mcnemar(0, 5) == pytest.approx(2 / 32)


def test_false_alarms_and_stated_power() -> None:
    """1,000 pairs of logs without a difference, and 1,000 with one, of 200 items that correlate."""
    rng = np.random.default_rng(0)
    n, alarms, hits, gain = 200, 0, 0, 0.1
    hard = rng.random((1000, n))
    before = (rng.random((1000, n)) < hard).astype(float)
    null = (rng.random((1000, n)) < hard).astype(float)
    better = (rng.random((1000, n)) < hard + gain * 4 * hard * (1 - hard) * 1.5).astype(float)
    effect = float((better - before).mean())
    error = float((better - before).std() / math.sqrt(n))
    for one, other, third in zip(before, null, better, strict=True):
        alarms += paired(one, other).p < 0.05
        hits += paired(one, third).p < 0.05
    assert alarms <= 50
    normal = NormalDist()
    stated = np.mean([paired(one, third).power(effect) for one, third in zip(before, better, strict=True)])
    assert stated == pytest.approx(normal.cdf(effect / error - 1.96), abs=0.01)
    assert hits / 1000 == pytest.approx(stated, abs=0.05)
    found = paired(before[0], better[0])
    more = found.needed(effect)
    assert more is not None
    assert more == pytest.approx(n * (2.8016 * found.error / effect) ** 2, abs=2)


def test_samples_of_the_harness(tmp_path: Path) -> None:
    rows = [harness_row(n, float(n % 2)) for n in range(30)]
    strict = [harness_row(n, 1.0, "strict-match") for n in range(30)]
    one = write_lines(tmp_path / "a" / "m" / "samples_arc_2026-11-01T10-00-00.123.jsonl", rows)
    write_lines(tmp_path / "a" / "m" / "samples_arc_2025-11-01T10-00-00.123.jsonl", rows[:3])  # an older run
    write_lines(tmp_path / "a" / "m" / "samples_gsm_2026-11-01T10-00-00.1.jsonl", rows + strict)
    log = read_log(tmp_path / "a", "passage")
    assert set(log.values) == {
        Measure("arc", "acc"),
        Measure("gsm", "acc"),
        Measure("gsm", "acc,strict-match"),
    }
    assert len(log.values[Measure("arc", "acc")]) == 30
    assert log.clusters["arc", "4"] == "p1"
    other = write_lines(
        tmp_path / "samples_arc_2026-11-02T10-00-00.1.jsonl", [harness_row(n, 1.0) for n in range(28)]
    )
    found = dipole.diff(one, other, cluster="passage")
    assert found.rows[0].found.groups == 10
    assert found.rows[0].found.up == 14
    assert found.rows[0].rose == tuple(str(n) for n in range(0, 28, 2))
    assert "2 items are in the first log alone" in found.notes[0]
    changed = write_lines(
        tmp_path / "samples_arc.jsonl", [harness_row(n, 1.0, doc_hash="x") for n in range(28)]
    )
    with pytest.raises(UserError, match="is another one in"):
        dipole.diff(one, changed)


def test_logs_of_inspect(tmp_path: Path) -> None:
    one, other = (
        inspect_log("CIPN" * 5, epochs=2),
        inspect_log([1, True, {"a": 0.5, "b": "C"}, 0.25] * 5, epochs=2),
    )
    (tmp_path / "one.json").write_text(json.dumps(one))
    packed = tmp_path / "other.eval"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("header.json", json.dumps({k: v for k, v in other.items() if k != "samples"}))
        for sample in other["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
    first, second = read_log(tmp_path / "one.json", "by"), read_log(packed)
    assert [*first.values[Measure("sums", "match")].values()][:4] == [1, 0, 0.5, 0]
    assert first.clusters["sums", "3"] == "1"
    assert second.values[Measure("sums", "match/b")]["2"] == 1
    found = dipole.diff(tmp_path / "one.json", packed)
    assert [row.measure.metric for row in found.rows] == ["match"]
    assert found.rows[0].found.items == 15
    assert any("match/a" in note for note in found.notes)
    (tmp_path / "cut.eval").write_bytes(packed.read_bytes()[:300])
    with pytest.raises(UserError, match="can't be read as a log of Inspect"):
        read_log(tmp_path / "cut.eval")


def test_rows_of_ones_own(tmp_path: Path) -> None:
    with (tmp_path / "one.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["id", "loss", "said", "book"])
        table.writerows([[n, n / 2, "yes", n // 2] for n in range(12)])
    rows = [{"id": n, "loss": n / 2 + 1 + n % 2, "task": "one"} for n in range(12)]
    found = dipole.diff(tmp_path / "one.csv", write_lines(tmp_path / "two.jsonl", rows), cluster="book")
    assert [row.measure for row in found.rows] == [("one", "loss")]
    assert found.rows[0].found.groups == 6
    assert found.rows[0].shown
    assert "higher by 1.5" in str(found)


def test_completions_of_two_runs(tmp_path: Path) -> None:
    for name, sides in (("a", ["claim", "against"] * 6), ("b", ["claim"] * 12)):
        samples = [{"prompt": f"p{n // 2}", "seed": n} for n in range(12)]
        effect = {
            "format": "dipole-effect",
            "concept": {"claim": "Tea."},
            "samples_after": samples,
            "sides_after": sides,
        }
        (tmp_path / name).mkdir()
        (tmp_path / name / "effect.json").write_text(json.dumps(effect))
    found = dipole.diff(tmp_path / "a", tmp_path / "b", metrics=["claim_share"])
    assert found.rows[0].measure == ("Tea.", "claim_share")
    assert (found.rows[0].found.items, found.rows[0].found.groups, found.rows[0].found.up) == (12, 6, 6)
    assert found.rows[0].found.p == pytest.approx(2 / 64)


BAD: dict[str, tuple[list[Any], str]] = {
    "twice": ([{"id": 1, "x": 1}, {"id": 1, "x": 2}], "has x twice; it stands at twice.jsonl:1 too"),
    "no id": ([{"x": 1}], "no id.jsonl:1 has no `id`"),
    "no number": ([{"id": 1, "x": "a"}], "no item with a number"),
    "list": ([[1]], "list.jsonl:1 is no JSON object"),
    "empty": ([], "is empty"),
    "others": ([{"id": "z", "x": 1, "task": "good"}], "share no item of good x"),
    "another task": ([{"id": 1, "x": 1, "task": "b"}], "share no measure"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_can_not_be_compared(name: str, tmp_path: Path) -> None:
    rows, words = BAD[name]
    good = write_lines(tmp_path / "good.jsonl", [{"id": 1, "x": 1}, {"id": 2, "x": 0}])
    with pytest.raises(UserError, match=words):
        dipole.diff(good, write_lines(tmp_path / f"{name}.jsonl", rows))


def test_a_log_that_was_cut(tmp_path: Path) -> None:
    (tmp_path / "cut.jsonl").write_text('{"id": 1, "x": 1}\n{"id": 2, "x')
    with pytest.raises(UserError, match=r"cut\.jsonl:2 can't be read"):
        read_log(tmp_path / "cut.jsonl")
    (tmp_path / "other.json").write_text("{}")
    for path in (tmp_path / "other.json", tmp_path / "none.jsonl", tmp_path):
        with pytest.raises(UserError, match="give samples_"):
            read_log(path)
