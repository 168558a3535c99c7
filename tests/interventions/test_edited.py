"""Artefacts that were edited by hand: the examples that were seen to end badly, and their siblings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import dipole
from architectures import tiny_model
from contracts.recipes import INTERVENTIONS, random_adapter, random_fudge, random_vector
from dipole.interventions import load_intervention
from dipole.interventions.gguf import import_gguf
from dipole.models import load
from dipole.types import DipoleWarning, UserError

NAME = "gpt2"


def _edit(file: Path, **changed: Any) -> None:
    data = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps({**data, **changed}), "utf-8")


def _saved_lm(folder: Path) -> Path:
    dipole.save(INTERVENTIONS["prefix"]("mini").apply(load("mini")), folder)
    return folder / "lm.json"


def test_a_saved_lm_that_names_itself(tmp_path: Path) -> None:
    file = _saved_lm(tmp_path / "lm")
    for name in (str(tmp_path / "lm"), str(tmp_path / "lm" / ".")):
        _edit(file, model=name)
        with pytest.raises(UserError, match="no model but a saved LM"):
            load(str(tmp_path / "lm"))
    _edit(_saved_lm(tmp_path / "other"), model=str(tmp_path / "lm"))
    _edit(file, model=str(tmp_path / "other"))
    with pytest.raises(UserError, match="no model but a saved LM"):
        load(str(tmp_path / "lm"))


def test_a_saved_lm_in_the_working_directory_takes_no_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mini` is the bundled LM, also beside a folder of that name with a saved LM in it."""
    _saved_lm(tmp_path / "mini")
    file = _saved_lm(tmp_path / "lm")
    assert json.loads(file.read_text())["model"] == "mini"
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DipoleWarning, match="the folder of that name"):
        assert load("./lm").resident.name == "mini"


@pytest.mark.parametrize("out", ["../..", "../secret", "/etc", "link", "a\0b", "0-prefix/../../secret"])
def test_a_saved_lm_that_points_out_of_its_folder(tmp_path: Path, out: str) -> None:
    file = _saved_lm(tmp_path / "lm")
    INTERVENTIONS["prefix"]("mini").save(tmp_path / "secret")
    (tmp_path / "lm" / "link").symlink_to(tmp_path / "secret")
    _edit(file, interventions=[{"folder": out, "strength": 1.0}])
    with pytest.raises(UserError, match=r"leads out of that folder|must be a name"):
        load(str(tmp_path / "lm"))


@pytest.mark.parametrize(
    ("make", "change", "said"),
    [
        (lambda: random_fudge(NAME), {"layer": 99}, "names layer 99, and gpt2 has layers 0 to 2"),
        (lambda: random_fudge(NAME), {"candidates": 1e30}, "candidates must be a whole number"),
        (lambda: random_fudge(NAME), {"mass": [1]}, "mass must be a finite number"),
        (lambda: random_fudge(NAME), {"masss": 1.0}, "unknown key 'masss'. Did you mean 'mass'"),
        (lambda: INTERVENTIONS["best_of"](NAME), {"n": 1e30}, "n must be a whole number"),
        (lambda: INTERVENTIONS["best_of"](NAME), {"n": 10**9}, "n must be a whole number from 1 to"),
        (lambda: INTERVENTIONS["best_of"](NAME), {"recognizer": "vibes"}, "recognizer must be one of"),
        (lambda: INTERVENTIONS["best_of"](NAME), {"concept": {"claim": 3}}, "has no `against`"),
        (lambda: INTERVENTIONS["pplm"](NAME), {"steps": 10**9}, "steps must be a whole number"),
        (lambda: INTERVENTIONS["pool"](NAME), {"language": {"type": ["labels"]}}, "does not know"),
        (lambda: INTERVENTIONS["pool"](NAME), {"rounds": 10**9}, "rounds must be a whole number"),
        (lambda: INTERVENTIONS["prefix"](NAME), {"directive": "\ud800"}, "directive must be a text"),
        (lambda: INTERVENTIONS["prefix"](NAME), {"kind": ["prefix"]}, "does not know"),
        (lambda: INTERVENTIONS["experts"](NAME), {"temperature": 0}, "temperature must be a finite"),
        (lambda: INTERVENTIONS["experts"](NAME), {"expert": {"kind": "intervention"}}, "There is no file"),
        (lambda: random_vector(tiny_model(NAME)), {"operator": ["add"]}, "operator must be one of"),
        (lambda: random_vector(tiny_model(NAME)), {"layers": [{"layer": 1e30}]}, "layer must be a whole"),
    ],
)
def test_entries_beyond_their_range(
    tmp_path: Path, make: Callable[[], Any], change: dict[str, Any], said: str
) -> None:
    make().save(tmp_path)
    _edit(tmp_path / "dipole.json", **change)
    with pytest.raises(UserError, match=said):
        load_intervention(tmp_path).apply(tiny_model(NAME))


@pytest.mark.parametrize("deep", ["[" * 20_000, '{"facts":' * 20_000])
@pytest.mark.parametrize("name", ["dipole.json", "adapter_config.json"])
def test_brackets_without_end(tmp_path: Path, deep: str, name: str) -> None:
    random_adapter(tiny_model(NAME)).save(tmp_path)
    (tmp_path / name).write_text(deep)
    with pytest.raises(UserError, match="nested deeper than"):
        load_intervention(tmp_path)


@pytest.mark.parametrize("kind", ["boost", "fudge", "vector", "pplm"])
@pytest.mark.parametrize("how", ["int8", "nan", "shape", "missing", "more"])
def test_tensors_of_another_kind(tmp_path: Path, kind: str, how: str) -> None:
    INTERVENTIONS[kind](NAME).save(tmp_path)
    file = tmp_path / "tensors.safetensors"
    tensors = load_file(file)
    name = {"boost": "values", "fudge": "weight", "vector": "vectors", "pplm": "bag"}[kind]
    tensors[name] = {
        "int8": tensors[name].to(torch.int8),
        "nan": tensors[name].float() * torch.nan,
        "shape": tensors[name][None],
        "missing": tensors[name],
        "more": tensors[name],
    }[how]
    if how == "missing":
        del tensors[name]
    if how == "more":
        tensors["extra"] = torch.zeros(1)
    save_file(tensors or {"x": torch.zeros(1)}, file)
    with pytest.raises(UserError, match=r"tensors\.safetensors can't be read .*; copy it again"):
        load_intervention(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"r": 10**9}, "a whole number from 0"),
        ({"r": 900_000}, "a rank beyond the largest size"),
        ({"rank_pattern": {"c_attn": 900_000}}, "a rank beyond the largest size"),
        ({"target_modules": "(a+)+$"}, "repeats inside repeats"),
        ({"target_modules": "((.*a)*b)*$"}, "repeats inside repeats"),
        ({"target_modules": "(.*)(.*)(.*)(.*)(.*)(.*)(.*)x"}, "at most 6"),
        ({"target_modules": "["}, "a regular expression"),
        ({"exclude_modules": "(a|b*)+"}, "repeats inside repeats"),
        ({"rank_pattern": {"(a+)+$": 2}}, "repeats inside repeats"),
        ({"lora_alpha": float("nan")}, "NaN is no number"),
        ({"lora_dropout": 2}, "lora_dropout"),
        ({"megatron_config": {}}, "megatron_config is not supported"),
        ({"peft_type": 3}, "peft_type"),
        ({"peft_type": "NONSENSE"}, "PEFT"),
        ({"target_modules": 3}, "target_modules"),
    ],
)
def test_configurations_that_peft_would_choke_on(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    random_adapter(tiny_model(NAME)).save(tmp_path)
    _edit(tmp_path / "adapter_config.json", **change)
    with pytest.raises(UserError, match=said):
        load_intervention(tmp_path)


@pytest.mark.parametrize(
    "pattern",
    [
        "all-linear",
        r".*\.(q_proj|v_proj)$",
        r"^(?!.*visual).*(?:c_attn|c_proj).*",
        r"(?:.*?(?:language|text).*?(?:attn|mlp).*?(?:q_proj|v_proj).*?)|(?:\bmodel\.layers\.[\d]{1,}\.(?:k))",
    ],
)
def test_patterns_in_use_are_taken(tmp_path: Path, pattern: str) -> None:
    random_adapter(tiny_model(NAME)).save(tmp_path)
    _edit(tmp_path / "adapter_config.json", target_modules=pattern, a_newer_field={"x": 1})
    assert load_intervention(tmp_path).config.target_modules == pattern


def test_a_control_vector_whose_counts_never_end(tmp_path: Path) -> None:
    def text(word: str) -> bytes:
        return len(word).to_bytes(8, "little") + word.encode()

    head = b"GGUF" + (3).to_bytes(4, "little") + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
    for kind, count in ((0, 2**62), (6, 2**40), (8, 2**62), (9, 2**62)):
        entry = text("a") + (9).to_bytes(4, "little") + kind.to_bytes(4, "little")
        (tmp_path / "v.gguf").write_bytes(head + entry + count.to_bytes(8, "little") + b"\1" * 64)
        with pytest.raises(UserError, match="can't be read as GGUF"):
            import_gguf(tmp_path / "v.gguf")
    nested = head + text("a") + ((9).to_bytes(4, "little") * 2 + (1).to_bytes(8, "little")) * 4000
    (tmp_path / "v.gguf").write_bytes(nested)
    with pytest.raises(UserError, match="can't be read as GGUF"):
        import_gguf(tmp_path / "v.gguf")
