"""`dipole point`, and what it made in `dipole score` and `dipole generate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Cli
from dipole.microworld.cells import write_cells
from dipole.pointing.assess import held_out


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("point") / "stories"
    write_cells(folder, 15, seed=0)
    return folder


@pytest.fixture
def topics(cli: Cli, stories: Path, tmp_path: Path) -> Path:
    made = cli(
        "topics", stories / "docs.jsonl", "--topics", "2", "--iterations", "5", "--restarts", "1", "-q",
        "--out", tmp_path / "topics",
    )  # fmt: skip
    assert made.code == 0
    return tmp_path / "topics"


def test_point_score_and_generate(cli: Cli, stories: Path, topics: Path, tmp_path: Path) -> None:
    out = tmp_path / "notion"
    common = (f"{topics}:0", "--corpus", stories / "docs.jsonl", "--model", "mini", "--layers", "1")
    done = cli(
        "point", *common, "--truth", stories / "truth.csv", "--flavour", stories / "crime.csv",
        "--prompt", "Here is a story.", "-n", "2", "--max-new-tokens", "8", "--out", out,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[:4]] == ["notion", "weak", "refined", "ceiling"]
    assert "F1 against the truth" in done.out
    assert "finding the notion" in done.err
    assert (out / "report.html").is_file()
    scored = cli("score", "--recognizer", out, "--json", "-", stdin=b"A murder.\nThey kissed.\n")
    assert scored.code == 0
    assert all(isinstance(json.loads(line)["log_odds"], float) for line in scored.out.splitlines())
    written = cli(
        "generate", "Once", "--model", "mini", "--intervention", f"{out}:1.0", "--max-new-tokens", "5"
    )
    assert written.code == 0
    refused = cli("point", *common, "--out", out)
    assert refused.code == 2
    assert "--overwrite" in refused.err
    again = cli("point", *common, "-n", "0", "--json", "-q", "--overwrite", "--out", out)
    assert again.code == 0
    record = json.loads(again.out)
    assert record["readings"] == []
    assert record["written"] == []
    assert "No truth was given" in again.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere:0",), "no folder"),
        (("{topics}:7",), "topics 0 to 1"),
        (("{topics}",), "say which one"),
        (("{topics}:0", "--method", "guess"), "method must be one of"),
        (("{topics}:0", "--steer", "hope"), "steer must be"),
        (("{topics}:0", "--corpus", "absent"), "absent"),
        (("{topics}:0", "--truth", "absent.csv"), "no labels"),
        (("{topics}:0", "--flavour", "{stories}/crime.csv"), "give --truth too"),
        (("{topics}:0", "-n", "-3"), "n must be"),
        (("{topics}:0", "--layers", "99", "--model", "mini"), "layer 99"),
        (("{topics}:0", "--seed", "-1"), "The seed must be from 0"),
        (("{topics}:0", "--seed", "4294967296"), "The seed must be from 0"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: tuple[str, ...], said: str, cli: Cli, stories: Path, topics: Path, tmp_path: Path
) -> None:
    given = [a.format(topics=topics, stories=stories) for a in arguments]
    if "--corpus" not in given:
        given += ["--corpus", str(stories / "docs.jsonl")]
    done = cli("point", *given, "--out", tmp_path / "out")
    assert done.code == 2, done.err
    assert said in done.err
    assert len(done.err.strip().splitlines()) <= 4
    assert not (tmp_path / "out").exists()


def test_what_is_read_is_not_replaced(cli: Cli, stories: Path, topics: Path) -> None:
    before = {path.name: path.read_bytes() for path in topics.iterdir()}
    for verb in ("point", "basin"):
        truth = ("--truth", stories / "truth.csv")
        done = cli(
            verb, f"{topics}:0", "--corpus", stories / "docs.jsonl", *truth, "--out", topics, "--overwrite"
        )
        assert done.code == 2
        assert "which this command reads" in done.err
    assert {path.name: path.read_bytes() for path in topics.iterdir()} == before


def test_labels_that_leave_nothing_to_measure_are_said(
    cli: Cli, stories: Path, topics: Path, tmp_path: Path
) -> None:
    ids = [json.loads(line)["id"] for line in (stories / "docs.jsonl").read_text().splitlines()]
    fitted = [name for name, kept in zip(ids, held_out(ids, 0.3), strict=True) if not kept]
    lines = [f"{name},{number % 2}" for number, name in enumerate(fitted)]
    (tmp_path / "fitted.csv").write_text("\n".join(["id,label", *lines]))
    common = ("--corpus", stories / "docs.jsonl", "--model", "mini", "--layers", "1", "-n", "0")
    done = cli(
        "point",
        f"{topics}:0",
        *common,
        "--truth",
        tmp_path / "fitted.csv",
        "--out",
        tmp_path / "out",
        "--json",
    )
    assert done.code == 0, done.err
    assert "documents held out 0 are labelled 1 and 0 are labelled 0" in done.err
    assert json.loads(done.out)["readings"] == []
    (tmp_path / "other.csv").write_text("id,label\nx,1\ny,0\n")
    flavour = ("--truth", stories / "truth.csv", "--flavour", tmp_path / "other.csv")
    refused = cli("point", f"{topics}:0", *common, *flavour, "--out", tmp_path / "new")
    assert refused.code == 2
    assert "No document of the corpus has a further label" in refused.err
    assert "those of the further labels like 'x'" in refused.err
