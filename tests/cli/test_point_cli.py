"""`dipole point`, and what it made in `dipole score` and `dipole generate`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.conftest import Cli
from dipole.microworld.cells import write_cells
from dipole.pointing.assess import held_out
from dipole.types import UserError


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


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--prompt", "Here is a story.", "--max-new-tokens", "5000"), "more than the context"),
        (("--prompt", "Here is a story. " * 200), "more than the context"),
        (("--prompt", "Here is a story. " * 200, "-n", "0"), "more than the context"),
        (("--prompt", "a\udcff"), "not valid Unicode"),
        (("--steer", "vector", "--max-new-tokens", "5000"), "more than the context"),
        (("-n", "99999999999999999999"), "at most 1,000,000"),
        (("--layers", "99"), "layer 99"),
    ],
)
def test_what_can_be_refused_at_once_is(
    arguments: tuple[str, ...], said: str, cli: Cli, stories: Path, topics: Path, tmp_path: Path
) -> None:
    common = ("--corpus", stories / "docs.jsonl", "--model", "mini", "--out", tmp_path / "out")
    done = cli("point", f"{topics}:0", *common, *arguments)
    assert done.code == 2
    assert said in done.err
    assert "reading" not in done.err  # nothing was read yet
    assert not (tmp_path / "out").exists()


def test_labels_of_other_documents_are_refused_before_the_model_reads(
    cli: Cli, stories: Path, topics: Path, tmp_path: Path
) -> None:
    (tmp_path / "others.csv").write_text("id,label\nnobody,1\nelse,0\n")
    ids = [json.loads(line)["id"] for line in (stories / "docs.jsonl").read_text().splitlines()]
    (tmp_path / "same.csv").write_text("\n".join(["id,label", *(f"{name},1" for name in ids)]))
    for file, said in (("others.csv", "No document of the corpus"), ("same.csv", "all the same")):
        common = ("--corpus", stories / "docs.jsonl", "--model", "mini", "--out", tmp_path / "out")
        done = cli("point", f"{topics}:0", *common, "--truth", tmp_path / file)
        assert done.code == 2
        assert said in done.err
        assert "documents with mini" not in done.err


def test_a_model_that_can_not_be_steered_is_refused_at_once(
    cli: Cli, stories: Path, topics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_: object, **__: object) -> None:
        raise UserError("This model has no cache to fork.")

    monkeypatch.setattr("dipole.interventions.fudge.Fudge.guide", no)
    common = ("--corpus", stories / "docs.jsonl", "--model", "mini", "--out", tmp_path / "out")
    done = cli("point", f"{topics}:0", *common)
    assert (done.code, done.err) == (2, "dipole: This model has no cache to fork.\n")
