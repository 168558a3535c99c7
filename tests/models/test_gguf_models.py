"""Models in GGUF files: the same as the model that they were written from, and nothing quantised left."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

import dipole
from architectures import BOS, EOS, PAD, tiny_tokenizer
from contracts.recipes import random_adapter
from dipole.lm import LM
from dipole.models import load
from dipole.models.resident import TransformersResident
from dipole.types import DipoleWarning, UserError
from gguf_files import F16, Q8_0, Writer, tiny_gguf, tiny_llama
from machine import needs_bfloat16

TEXTS = ["The cats like the dogs.", "Paper clips are the best", " 12 \n<s>"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny-model.gguf")


@pytest.fixture(scope="module")
def origin() -> LM:
    """The LM that the file was written from."""
    return LM(TransformersResident(tiny_llama().requires_grad_(False), tiny_tokenizer(False), "origin"))


def logits(lm: LM, text: str) -> torch.Tensor:
    ids = tiny_tokenizer(False)(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return lm.resident.model(ids).logits


def test_logits_are_those_of_the_model_it_was_written_from(
    file: Path, origin: LM, capfd: pytest.CaptureFixture[str]
) -> None:
    lm = load(str(file), device="cpu")
    assert capfd.readouterr() == ("", "")
    for text in TEXTS:
        torch.testing.assert_close(logits(lm, text), logits(origin, text), atol=1e-4, rtol=1e-4)
        assert lm.resident.tokenizer(text)["input_ids"] == tiny_tokenizer(False)(text)["input_ids"]
    assert lm.resident.fingerprint == origin.resident.fingerprint
    assert lm.resident.model.dtype == torch.float32
    assert lm.resident.eos_ids == origin.resident.eos_ids
    assert "assistant" in lm.resident.tokenizer.chat_template


@pytest.mark.parametrize(("kind", "most"), [(F16, 0.02), (Q8_0, 0.2)], ids=["F16", "Q8_0"])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_blocks_are_taken_out(kind: Any, most: float, tied: bool, tmp_path: Path) -> None:
    lm = load(str(tiny_gguf(tmp_path / "q.gguf", kind, tied)), device="cpu")
    want = LM(TransformersResident(tiny_llama(tied), tiny_tokenizer(False), "origin"))
    off = (logits(lm, TEXTS[0]) - logits(want, TEXTS[0])).abs().max()
    assert 0 < off < most * logits(want, TEXTS[0]).std()
    model = lm.resident.model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert (model.get_input_embeddings().weight is model.get_output_embeddings().weight) is tied
    assert lm.resident.fingerprint != want.resident.fingerprint


def test_nothing_quantised_is_left_nor_saved(tmp_path: Path) -> None:
    lm = load(str(tiny_gguf(tmp_path / "q.gguf", Q8_0)), device="cpu")
    model = lm.resident.model
    assert not [key for key in (*vars(model), *vars(model.config)) if "quantization" in key]
    assert (model.hf_quantizer, model.is_quantized) == (None, False)
    model.save_pretrained(tmp_path / "whole")
    lm.resident.tokenizer.save_pretrained(tmp_path / "whole")
    config = json.loads((tmp_path / "whole" / "config.json").read_text())
    assert not [key for key in config if "quant" in key or "gguf" in key]
    again = load(str(tmp_path / "whole"), device="cpu")
    assert again.resident.fingerprint == lm.resident.fingerprint
    assert again.generate(TEXTS[0], max_new_tokens=4) == lm.generate(TEXTS[0], max_new_tokens=4)


@needs_bfloat16
def test_bfloat16(file: Path, origin: LM) -> None:
    lm = load(str(file), dtype="bfloat16", device="cpu")
    assert {p.dtype for p in lm.resident.model.parameters()} == {torch.bfloat16}
    assert len(lm.generate("The cats", max_new_tokens=2)) == 1


@pytest.mark.parametrize("where", ["absolute", "relative", "home", "folder", "upper case", "linked"])
def test_where_a_file_may_lie(
    where: str, file: Path, origin: LM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "here" / "x.gguf"
    place.parent.mkdir()
    shutil.copy(file, place)
    monkeypatch.chdir(place.parent)
    monkeypatch.setenv("HOME", str(place.parent))
    if where == "upper case":
        place = place.rename(place.with_name("X.GGUF"))
    if where == "linked":
        os.symlink(place, tmp_path / "link.gguf")
    name = {
        "absolute": str(place),
        "relative": "x.gguf",
        "home": "~/x.gguf",
        "folder": str(place.parent),
        "upper case": "X.GGUF",
        "linked": str(tmp_path / "link.gguf"),
    }[where]
    lm = load(name, device="cpu")
    assert lm.resident.fingerprint == origin.resident.fingerprint
    assert lm.resident.name == name


def test_a_folder_of_several_asks_which(file: Path, tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf"):
        shutil.copy(file, tmp_path / name)
    with pytest.raises(UserError, match=r"several models \(a\.gguf, b\.gguf\); give one"):
        load(str(tmp_path))
    tiny_llama().save_pretrained(tmp_path)
    tiny_tokenizer(False).save_pretrained(tmp_path)
    load(str(tmp_path), device="cpu")  # a config.json tells what the folder is


def test_what_is_saved_names_the_file_and_loads_again(file: Path, tmp_path: Path) -> None:
    lm = load(str(file), device="cpu")
    lm = random_adapter(lm).apply(lm, 0.5)
    dipole.save(lm, tmp_path / "lm")
    written = "".join(path.read_text() for path in (tmp_path / "lm").rglob("*.json"))
    assert "quantization" not in written
    assert str(file) in written
    again = load(str(tmp_path / "lm"), device="cpu")
    assert again.generate("I like", max_new_tokens=3) == lm.generate("I like", max_new_tokens=3)


def test_special_tokens_and_padding(file: Path) -> None:
    """The control tokens of the file are special, so a text that spells one is text like any other."""
    lm = load(str(file), device="cpu")
    assert lm.resident.pad_id == PAD
    assert set(lm.resident.tokenizer.all_special_ids) == {PAD, BOS, EOS}
    assert lm.resident.tokenizer.decode([EOS, *lm.resident.encode("a")], skip_special_tokens=True) == "a"


LLAMA_3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}


@pytest.mark.parametrize("rope", [LLAMA_3, LINEAR], ids=lambda rope: rope["rope_type"])
def test_stretched_positions_are_read_too(rope: dict[str, Any], tmp_path: Path) -> None:
    """As llama.cpp's converter writes them, which transformers' reading leaves out."""
    model = tiny_llama(rope_parameters=rope)
    want = LM(TransformersResident(model, tiny_tokenizer(False), "origin"))
    writer = Writer(tmp_path / "x.gguf").facts().tokenizer()
    if rope is LLAMA_3:
        slower = tiny_llama().model.rotary_emb.inv_freq / model.model.rotary_emb.inv_freq
        assert 1 < len(set(slower.tolist())) <= 8
        writer.tensor("rope_freqs.weight", slower.numpy())
    else:
        writer.raw.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.raw.add_rope_scaling_factor(rope["factor"])
    lm = load(str(writer.weights(model).write()), device="cpu")
    text = TEXTS[0] * 2
    torch.testing.assert_close(logits(lm, text), logits(want, text), atol=1e-4, rtol=1e-4)
    plain = LM(TransformersResident(tiny_llama(), tiny_tokenizer(False), "origin"))
    assert (logits(plain, text) - logits(want, text)).abs().max() > 0.05


@pytest.mark.parametrize("how", ["yarn", "long and short factors"])
def test_other_stretched_positions_are_told(how: str, tmp_path: Path) -> None:
    writer = Writer(tmp_path / "x.gguf").facts().tokenizer()
    if how == "yarn":
        writer.raw.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    else:
        writer.tensor("rope_factors_long.weight", np.ones(8, dtype=np.float32))
    with pytest.warns(DipoleWarning, match=f"stretches its positions .*{how}"):
        load(str(writer.weights(tiny_llama()).write()), device="cpu")
