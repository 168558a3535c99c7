"""Models that do not fit in memory: refused before their weights are read, and no others."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from architectures import fresh_tiny_model, tiny_tokenizer
from dipole.models import fitting, load
from dipole.models.fitting import bytes_as_8_bits, count_values, free_bytes, refuse_too_large
from dipole.models.gguf_header import read_header
from dipole.types import UserError
from gguf_files import Q8_0, tiny_gguf, tiny_llama


def values(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture
def have(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda count: monkeypatch.setattr(fitting, "free_bytes", lambda device: count)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fresh_tiny_model("llama").resident.model.save_pretrained(tmp_path)
    tiny_tokenizer(True).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("tied", [False, True])
def test_the_count_is_that_of_the_model(tied: bool) -> None:
    model = tiny_llama(tied)
    assert count_values(model.config) == values(model)
    assert count_values(SimpleNamespace()) is None


@pytest.mark.parametrize(("dtype", "each"), [("auto", 4), ("float32", 4), ("bfloat16", 2), ("float16", 2)])
def test_refused_at_a_byte_too_few_and_not_at_enough(folder: Path, dtype: str, each: int, have: Any) -> None:
    need = values(fresh_tiny_model("llama").resident.model) * each
    have(need)
    load(str(folder), dtype=dtype, device="cpu")
    have(need - 1)
    with pytest.raises(
        UserError, match=rf"at {each} bytes each, and cpu has .* take a smaller model"
    ) as said:
        load(str(folder), dtype=dtype, device="cpu")
    assert ("--dtype bfloat16" in str(said.value)) is (each == 4)
    assert str(folder) in str(said.value)


def test_a_gguf_is_refused_by_what_it_becomes(tmp_path: Path, have: Any) -> None:
    path = tiny_gguf(tmp_path / "x.gguf", Q8_0)
    need = 4 * values(tiny_llama())
    assert 4 * bytes_as_8_bits(read_header(path)) == need
    have(need - 1)
    with pytest.raises(UserError, match="to give; load it in 16 bits"):
        load(str(path), device="cpu")
    have(need)
    load(str(path), device="cpu")


def test_the_sentence_has_the_numbers() -> None:
    config = LlamaConfig(vocab_size=1000, hidden_size=64, num_hidden_layers=1, num_attention_heads=4)
    need = values(AutoModelForCausalLM.from_config(config))
    text = fitting._too_large("org/model", 7_000_000_000, 4, 6_000_000_000, "cpu")
    assert "needs 28.0 GB for its 7.00 billion weights at 4 bytes each, and cpu has 6.0 GB" in text
    assert "which needs half and is still too much" in text
    assert "--device spread" not in text
    assert "--device spread" in fitting._too_large("org/model", need, 2, 6, "cuda:1")


def test_what_is_not_sure_is_not_refused(have: Any) -> None:
    model = tiny_llama()
    have(1)
    refuse_too_large("x", SimpleNamespace(), "float32", "cpu", None)  # nobody knows how large it is
    model.config.quantization_config = {"quant_method": "bitsandbytes"}
    refuse_too_large("x", model.config, "float32", "cpu", None)  # smaller than its numbers
    del model.config.quantization_config
    with pytest.raises(UserError):
        refuse_too_large("x", model.config, "float32", "cpu", None)
    have(None)
    refuse_too_large("x", model.config, "float32", "spread", None)


def test_what_surely_fits_is_not_counted(have: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "count_values", lambda config: pytest.fail("counted"))
    have(4000)
    refuse_too_large("x", LlamaConfig(), "float32", "cpu", 1000)
    with pytest.raises(pytest.fail.Exception):
        refuse_too_large("x", LlamaConfig(), "float32", "cpu", 1001)


def test_free_memory_of_a_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(fitting.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    monkeypatch.setattr(fitting.psutil, "swap_memory", lambda: SimpleNamespace(free=300))
    monkeypatch.setattr(fitting, "_CGROUP", tmp_path)
    assert free_bytes("cpu") == 5300
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.stat").write_text("anon 600\nfile 9999\n")
    assert free_bytes("cpu") == 5300
    (tmp_path / "memory.max").write_text("1000\n")
    assert free_bytes("cpu") == 400
    (tmp_path / "memory.max").write_text("500\n")
    assert free_bytes("cpu") == 0


def test_free_memory_of_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (700, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 90)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 50)
    assert free_bytes("cuda:1") == 740
    assert free_bytes("spread") is None
    assert free_bytes("mps") is None


def test_the_stored_type_counts_on_an_accelerator(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    assert config["dtype"] == "float32"
    assert fitting._bytes_each("auto", LlamaConfig(dtype="bfloat16")) == 2
    assert fitting._bytes_each("auto", LlamaConfig(dtype="float32")) == 4
    assert fitting._bytes_each("auto", LlamaConfig()) == 2
