"""`benchmarks/run_all.sh` runs every benchmark, with flags that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def listed(repository: Path) -> dict[str, set[str]]:
    """Name and flags of each line that runs a benchmark; lines of one name together."""
    found: dict[str, set[str]] = {}
    for line in (repository / "benchmarks" / "run_all.sh").read_text("utf-8").splitlines():
        if run := re.match(r" *bench (\w+) (.*)", line):
            found.setdefault(run[1], set()).update(re.findall(r"--[\w-]+", run[2]))
    return found


def test_every_benchmark_is_run(repository: Path, listed: dict[str, set[str]]) -> None:
    texts = {path.stem: path.read_text("utf-8") for path in (repository / "benchmarks").glob("*.py")}
    assert set(listed) == {name for name, text in texts.items() if "__main__" in text}


def test_the_flags_are_there(repository: Path, listed: dict[str, set[str]]) -> None:
    for name, flags in listed.items():
        text = (repository / "benchmarks" / f"{name}.py").read_text("utf-8")
        assert flags <= {*re.findall(r'"(--[\w-]+)"', text), "--help"}, name
