"""`compare` and `sweep`: what they print and leave behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from cli.conftest import AGAINST, CLAIM, PROMPT, Cli
from dipole.cli import run
from dipole.files import MARKER

ON = ("--claim", CLAIM, "--against", AGAINST, "--prompt", PROMPT)
FAST = ("-n", "2", "--max-new-tokens", "4", "--bystanders", "none")
REPORT = {MARKER, "comparison.json", "dipole.toml", "manifest.json", "report.html", "report.md"}


@pytest.fixture(scope="module")
def bo(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    out = tmp_path_factory.mktemp("fitted") / "bo"
    assert run(["fit", "best_of", *ON, "--model", str(model), "--n", "2", "--out", str(out), "-q"]) == 0
    return out


def test_compare(cli: Cli, bo: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "compare"
    arguments = ("compare", trained, bo, *ON, *FAST, "--strengths", "-1,1", "--out", out)
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert {path.name for path in out.iterdir()} == REPORT
    assert [path.name for path in tmp_path.iterdir()] == ["compare"]
    assert f"the report is {out / 'report.html'}" in result.err
    assert "1/" in result.err
    record = json.loads((out / "comparison.json").read_text())
    assert [curve["label"] for curve in record["curves"]] == ["prompt", str(trained), str(bo)]
    facts = json.loads((out / "manifest.json").read_text())
    assert facts["out"] == str(out)
    assert set(facts["files"]) == REPORT - {MARKER}
    again = cli(*arguments)
    assert (again.code, again.out) == (2, "")
    assert "--overwrite" in again.err
    assert "--resume" not in again.err
    quiet = cli(*arguments, "--overwrite", "--quiet", "--json")
    assert (quiet.code, quiet.err) == (0, "")
    assert [c["label"] for c in json.loads(quiet.out)["curves"]] == [c["label"] for c in record["curves"]]


def test_compare_for_another_model(cli: Cli, trained: Path, other_model: Path) -> None:
    result = cli("compare", trained, *ON, *FAST, "--model", other_model)
    assert (result.code, result.out) == (2, "")
    assert "fingerprint" in result.err
    assert result.err.count("\n") == 1


def test_sweep(cli: Cli, trained: Path, tmp_path: Path) -> None:
    arguments = ("sweep", trained, *ON, *FAST, "--strengths", "-1..1", "--steps", "3")
    result = cli(*arguments)
    assert result.code == 0, result.err
    assert str(trained)[:10] in result.out or "strength" in result.out
    record = json.loads(cli(*arguments, "--json", "--out", tmp_path / "s", "-q").out)
    assert record["sweep"] is True
    assert [point["strength"] for point in record["curves"][0]["points"]] == [-1.0, 0.0, 1.0]
    assert {path.name for path in (tmp_path / "s").iterdir()} == REPORT


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_nothing_is_left_of_a_comparison_that_ends(
    number: signal.Signals,
    code: int,
    cli: Cli,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def end(*_: object, **__: object) -> None:
        os.kill(os.getpid(), number)

    monkeypatch.setattr("dipole.evaluation.families.compare_controls", end)
    assert cli("compare", trained, *ON, "--out", tmp_path / "deep" / "c").code == code
    assert not (tmp_path / "deep").exists()
