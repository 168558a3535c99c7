"""`dipole diff`."""

from __future__ import annotations

import json
import random
from pathlib import Path

from cli.conftest import Cli
from evaluation.test_diff import write_lines


def test_the_command_its_page_and_its_numbers(tmp_path: Path, cli: Cli) -> None:
    draw = random.Random(0)
    one = [{"id": f"<b>{n}", "acc": int(draw.random() < 0.5), "task": "<i>t"} for n in range(200)]
    two = [{**row, "acc": max(row["acc"], int(draw.random() < 0.3))} for row in one]
    paths = [write_lines(tmp_path / name, rows) for name, rows in (("a.jsonl", one), ("b.jsonl", two))]
    done = cli("diff", *paths, "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    kept = json.loads((tmp_path / "out" / "diff.json").read_text())
    assert json.loads(done.out)["rows"] == kept["rows"]
    assert kept["rows"][0]["difference_shown"]
    assert kept["rows"][0]["fell"] == []
    page = (tmp_path / "out" / "diff.html").read_text()
    assert "<b>" not in page
    assert "<i>t" not in page
    assert "A difference is shown in 1 of 1" in page
    assert "<td>200</td>" in page
    assert "built-in" not in page
    text = cli("diff", paths[0], paths[0], "--effect", "0.05").out
    assert "no difference is shown" in text
    assert cli("diff", paths[0], paths[1], "--effect", "0").code == 2
