"""`dipole basin`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Cli
from dipole.microworld.cells import write_cells


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dipole.cli import run

    base = tmp_path_factory.mktemp("basin")
    write_cells(base / "stories", 20, seed=1)
    fast = ("--topics", "2", "--iterations", "6", "--restarts", "1", "--quiet")
    assert run(["topics", str(base / "stories/docs.jsonl"), "--out", str(base / "topics"), *fast]) == 0
    (base / "one.csv").write_text("id,label\ns0,1\ns1,1\n")
    (base / "other.csv").write_text("id,label\nx,1\ny,0\n")
    return base


def arguments(place: Path, out: Path, *more: str) -> list[str]:
    stories = place / "stories"
    fixed = ["basin", f"{place}/topics:0", "--corpus", f"{stories}/docs.jsonl", "--out", str(out)]
    return [*fixed, "--truth", f"{stories}/truth.csv", "--layers", "2", "--grid", "2", "--seeds", "1", *more]


def test_the_shares_are_printed(cli: Cli, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "basin"
    done = cli(*arguments(place, out, "--method", "mixture, intersection"))
    assert done.code == 0
    header, *rows = done.out.split("\n\n")[0].splitlines()
    assert header.split()[:3] == ["method", "errors", "starts"]
    assert [row.split()[0] for row in rows] == ["mixture"] * 3 + ["intersection"] * 3
    assert "mixture: " in done.out.split("\n\n")[1]
    assert f"look at {out}/basin.html" in done.err
    assert (out / "basin.json").is_file()
    refused = cli(*arguments(place, out, "--method", "mixture"))
    assert refused.code == 2
    assert "--overwrite" in refused.err
    crime = f"{place}/stories/crime.csv"
    again = cli(
        *arguments(place, out, "--method", "mixture", "--flavour", crime, "--overwrite", "--json", "-q")
    )
    assert again.code == 0
    assert [json.loads(line)["kind"] for line in again.out.splitlines()] == [
        "topic",
        "uniform",
        "adversarial",
    ]
    assert again.err == ""


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "grid": (("--grid", "1"), "A grid must be at least 2 and at most 101, and is 1"),
    "seeds": (("--seeds", "0"), "The number of seeds must be at least 1"),
    "method": (("--method", "magic"), "'magic' is none of them"),
    "no method": (("--method", ","), "none was named"),
    "documents": (("--documents", "0"), "must be at least 1, and is 0"),
    "one class": (("--truth", "{place}/one.csv"), "are labelled 1, so there is no notion to come to"),
    "other ids": (("--truth", "{place}/other.csv"), "No document of the corpus has a label"),
    "other flavour": (("--flavour", "{place}/other.csv"), "No document of the corpus has a further label"),
    "seed": (("--seed", "-1"), "The seed must be from 0"),
    "huge seed": (("--seed", "4294967296"), "The seed must be from 0"),
    "no labels": (("--truth", "{place}/absent.csv"), "There are no labels at"),
    "layer": (("--layers", "9"), "has layers 0 to"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(cli: Cli, place: Path, tmp_path: Path, name: str) -> None:
    more, said = BAD[name]
    done = cli(*arguments(place, tmp_path / "out", *(word.format(place=place) for word in more)))
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert done.out == ""
    assert not list(tmp_path.iterdir())


def test_no_such_topic(cli: Cli, place: Path, tmp_path: Path) -> None:
    wanted = arguments(place, tmp_path / "out")
    wanted[1] = f"{place}/topics:7"
    done = cli(*wanted)
    assert done.code == 2
    assert "the model has topics 0 to 1" in done.err
