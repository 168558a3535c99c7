"""`export` and `import`: steering vectors as GGUF files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cli.conftest import PROMPT, Cli
from cli.test_bad_input import refused
from dipole.interventions import load_intervention
from dipole.interventions.activations import SteeringVector
from dipole.interventions.prompt import Prefix
from dipole.models import load

pytest.importorskip("gguf")


@pytest.fixture
def vector(model: Path, tmp_path: Path) -> Path:
    rows = torch.linspace(-2.0, 3.0, 16)[None]
    fingerprint = load(str(model), device="cpu").resident.fingerprint
    SteeringVector((1,), rows, base_name=str(model), base_fingerprint=fingerprint).save(tmp_path / "v")
    return tmp_path / "v"


@pytest.fixture
def foreign(vector: Path, cli: Cli, tmp_path: Path) -> Path:
    """A file that does not say which model it is for."""
    SteeringVector((1,), torch.ones(1, 16), model_type="llama").save(tmp_path / "f")
    assert cli("export", tmp_path / "f", "--gguf", tmp_path / "f.gguf").code == 0
    return tmp_path / "f.gguf"


def test_there_and_back(cli: Cli, vector: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "deep" / "v.gguf", tmp_path / "again"
    there = cli("export", vector, "--gguf", file)
    assert (there.code, there.err) == (0, "")
    assert f"{file}: layer 1 of " in there.out
    back = cli("import", file, "--out", out, "--json")
    assert (back.code, back.err) == (0, "")
    assert json.loads(back.out)["layers"] == [1]
    write = ("generate", PROMPT, "--max-new-tokens", "6", "--json", "--intervention")
    assert cli(*write, f"{out}:3").out == cli(*write, f"{vector}:3").out
    refused(cli("export", vector, "--gguf", file), "--overwrite")
    assert cli("export", vector, "--gguf", file, "--overwrite").code == 0


def test_a_foreign_vector_is_bound_to_the_model_given(
    cli: Cli, foreign: Path, model: Path, other_model: Path, tmp_path: Path
) -> None:
    loose = cli("import", foreign, "--out", tmp_path / "loose")
    assert loose.code == 0
    assert "nothing tells which model" in loose.err
    assert cli("generate", "x", "--model", other_model, "--intervention", tmp_path / "loose").code == 0
    bound = cli("import", foreign, "--out", tmp_path / "bound", "--model", model)
    assert (bound.code, bound.err) == (0, "")
    assert cli("generate", "x", "--intervention", tmp_path / "bound").code == 0
    refused(cli("generate", "x", "--model", other_model, "--intervention", tmp_path / "bound"), "fingerprint")


def test_what_can_not_be_exchanged(cli: Cli, vector: Path, model: Path, tmp_path: Path) -> None:
    Prefix("Be kind.").save(tmp_path / "p")
    refused(cli("export", tmp_path / "p", "--gguf", tmp_path / "p.gguf"), "only a steering vector")
    refused(cli("export", tmp_path / "none", "--gguf", tmp_path / "p.gguf"), "does not exist")
    refused(cli("export", vector, "--gguf", tmp_path), "must name a file")
    refused(cli("export", vector, "--gguf", ""), "empty string")
    refused(cli("import", tmp_path / "none.gguf", "--out", tmp_path / "o"), "no file")
    (tmp_path / "junk.gguf").write_bytes(b"GGUF" + b"\xff" * 40)
    refused(cli("import", tmp_path / "junk.gguf", "--out", tmp_path / "o"), "junk.gguf")
    assert not (tmp_path / "p.gguf").exists()
    assert not (tmp_path / "o").exists()


def test_a_vector_of_another_width_or_without_its_convention(
    cli: Cli, vector: Path, model: Path, tmp_path: Path
) -> None:
    SteeringVector((1,), torch.ones(1, 5)).save(tmp_path / "narrow")
    refused(cli("generate", "x", "--model", model, "--intervention", tmp_path / "narrow"), "width 5")
    meta = json.loads((vector / "dipole.json").read_text())
    del meta["layer_convention"]
    (vector / "dipole.json").write_text(json.dumps(meta))
    refused(cli("generate", "x", "--intervention", vector), "layer convention")


def test_import_replaces_its_own_alone(cli: Cli, foreign: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    assert cli("import", foreign, "--out", out).code == 0
    (out / "notes.md").write_text("mine")
    refused(cli("import", foreign, "--out", out), "--overwrite")
    assert cli("import", foreign, "--out", out, "--overwrite").code == 0
    assert (out / "notes.md").read_text() == "mine"
    assert load_intervention(out).kind == "vector"
