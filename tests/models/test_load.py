"""`load`: what it takes, and one clear sentence for everything that it doesn't."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoConfig,
    BartConfig,
    BertConfig,
    GPT2Config,
    GPT2Model,
    LlamaConfig,
    T5Config,
    ViTConfig,
)

from architectures import fresh_tiny_model, tiny_model, tiny_tokenizer
from dipole.models import load
from dipole.models.load import has_language_head
from dipole.types import UserError
from families import fresh_family
from machine import needs_bfloat16


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("llama")
    resident = fresh_tiny_model("llama").resident
    resident.model.save_pretrained(folder)
    tiny_tokenizer(True).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def _refused(folder: Path | str, match: str, **kwargs: Any) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load(str(folder), device=kwargs.pop("device", "cpu"), **kwargs)
    assert "\n" not in str(caught.value)


def test_a_folder_round_trips_quietly(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lm = load(str(saved), device="cpu")
    assert lm.resident.fingerprint == tiny_model("llama").resident.fingerprint
    assert lm.generate("The cats", max_new_tokens=4) == tiny_model("llama").generate(
        "The cats", max_new_tokens=4
    )
    assert not lm.resident.model.training
    assert not any(p.requires_grad for p in lm.resident.model.parameters())
    assert capfd.readouterr() == ("", "")


@needs_bfloat16
def test_number_types(copied: Path) -> None:
    load(str(copied), device="cpu").resident.model.to(torch.bfloat16).save_pretrained(copied)
    auto = load(str(copied), device="cpu")
    assert auto.resident.model.dtype == torch.float32
    narrow = load(str(copied), dtype="bfloat16", device="cpu")
    assert narrow.resident.model.dtype == torch.bfloat16
    assert auto.resident.fingerprint == narrow.resident.fingerprint
    assert len(narrow.generate("a", max_new_tokens=2)) == 1


HEADS: list[tuple[Any, bool]] = [
    (GPT2Config(architectures=["GPT2LMHeadModel"]), True),
    (GPT2Config(architectures=["GPT2Model"]), True),
    (GPT2Config(), True),
    (LlamaConfig(architectures=["LlamaForCausalLM"]), True),
    (BertConfig(architectures=["BertLMHeadModel"], is_decoder=True), True),
    (LlamaConfig(architectures=["FSDPLlamaForCausalLM"]), True),
    (LlamaConfig(architectures=["LlamaForSequenceClassification"]), False),
    (GPT2Config(architectures=["ShardedGPT2ForTokenClassification"]), False),
    (BartConfig(architectures=["BartForConditionalGeneration"]), False),
    (T5Config(architectures=["T5ForConditionalGeneration"]), False),
    (T5Config(), False),
    (ViTConfig(), False),
]


@pytest.mark.parametrize(("config", "there"), HEADS, ids=lambda x: getattr(x, "model_type", x))
def test_what_has_a_language_head(config: Any, there: bool) -> None:
    assert has_language_head(config) is there


@pytest.mark.parametrize("config", [c for c, there in HEADS if not there], ids=lambda c: c.model_type)
def test_other_heads_are_refused_before_the_weights_are_read(config: Any, tmp_path: Path) -> None:
    config.save_pretrained(tmp_path)
    _refused(tmp_path, "not a causal")


def _saved_family(name: str, folder: Path, decoder: bool = True, **config: Any) -> Path:
    model = fresh_family(name, decoder).resident.model
    model.save_pretrained(folder)
    tiny_tokenizer(False).save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


@pytest.mark.parametrize("name", ["xlnet", "xlm", "bert-generation", "bert", "roberta", "cpmant"])
def test_what_reads_in_both_directions_is_refused_by_what_it_does(name: str, tmp_path: Path) -> None:
    _refused(_saved_family(name, tmp_path, decoder=False), "not a causal.* a later token changes")


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("bert-generation", ["BertGenerationDecoder"]),
        ("bert", ["BertLMHeadModel"]),
        ("roberta", ["RobertaForMaskedLM"]),
        ("llama", ["FSDPLlamaForCausalLM"]),
        ("gpt2", ["OptimizedModule"]),
        ("mistral", []),
    ],
)
def test_what_reads_from_left_to_right_is_taken_whatever_its_class(
    name: str, classes: list[str], tmp_path: Path
) -> None:
    folder = _saved_family(name, tmp_path, architectures=classes)
    (sample,) = load(str(folder), device="cpu").generate("The cats", max_new_tokens=2)
    assert len(sample.token_ids) > 0


def test_a_trunk_that_reads_in_both_directions(tmp_path: Path) -> None:
    """Its head would be random, but that is not what is wrong with it."""
    fresh_family("bert", decoder=False).resident.model.bert.save_pretrained(tmp_path)
    tiny_tokenizer(False).save_pretrained(tmp_path)
    _refused(tmp_path, "not a causal")


def test_a_bare_trunk_with_tied_embeddings_is_whole_and_without_is_not(copied: Path, tmp_path: Path) -> None:
    small = {
        "vocab_size": len(tiny_tokenizer(True)),
        "n_embd": 16,
        "n_layer": 1,
        "n_head": 2,
        "n_positions": 16,
    }
    for tied in (True, False):
        folder = tmp_path / str(tied)
        GPT2Model(
            GPT2Config(**small, tie_word_embeddings=tied, bos_token_id=1, eos_token_id=2)
        ).save_pretrained(folder)
        tiny_tokenizer(True).save_pretrained(folder)
        if tied:
            load(str(folder), device="cpu").generate("a", max_new_tokens=1)
        else:
            _refused(folder, r"does not fill the whole model.*lm_head\.weight")


def test_missing_and_misshapen_tensors(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    gone = {k: v for k, v in weights.items() if "layers.1.mlp.up_proj" not in k}
    save_file(gone, copied / "model.safetensors", metadata={"format": "pt"})
    _refused(copied, r"does not fill the whole model.*layers\.1\.mlp\.up_proj\.weight")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({**weights, name: torch.zeros(3, 3)}, copied / "model.safetensors", metadata={"format": "pt"})
    _refused(copied, "can't be read|does not fill")


def test_pickles_are_refused(copied: Path) -> None:
    (copied / "model.safetensors").rename(copied / "pytorch_model.bin")
    _refused(copied, r"Pickled weights \(pytorch_model\.bin\)")
    (copied / "pytorch_model.bin").unlink()
    _refused(copied, "holds no weights")


@pytest.mark.parametrize("size", [0, 5, 300, 20_000])
def test_truncated_weights(copied: Path, size: int) -> None:
    path = copied / "model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    _refused(copied, "missing, truncated or corrupt")


def test_a_missing_shard(copied: Path) -> None:
    (copied / "model.safetensors").unlink()
    fresh_tiny_model("llama").resident.model.save_pretrained(copied, max_shard_size="30KB")
    assert load(str(copied), device="cpu").resident.fingerprint == tiny_model("llama").resident.fingerprint
    sorted(copied.glob("model-*.safetensors"))[1].unlink()
    _refused(copied, "missing, truncated or corrupt")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"model_type": "nonsense"}', "{}", '"x"'])
def test_corrupt_configs(copied: Path, content: str) -> None:
    (copied / "config.json").write_text(content)
    _refused(copied, "can't be read|not a causal")


@pytest.mark.parametrize("content", ["", "{", "{}", "[]"])
def test_corrupt_tokenizers(copied: Path, content: str) -> None:
    (copied / "tokenizer.json").write_text(content)
    _refused(copied, "can't be read|no usable tokenizer")


def test_missing_and_foreign_tokenizers(copied: Path) -> None:
    for path in copied.glob("*token*"):
        path.unlink()
    _refused(copied, "can't be read|no usable tokenizer")
    (copied / "config.json").write_text(
        json.dumps(AutoConfig.from_pretrained(copied).to_dict() | {"vocab_size": 50})
    )
    weights = load_file(copied / "model.safetensors")
    cut = {k: v[:50].clone() if v.shape[0] == len(tiny_tokenizer(True)) else v for k, v in weights.items()}
    save_file(cut, copied / "model.safetensors", metadata={"format": "pt"})
    tiny_tokenizer(True).save_pretrained(copied)
    _refused(copied, "token ids .* that its model does not know")


def test_places_that_hold_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _refused("", "empty string")
    _refused(tmp_path / "nowhere", "does not exist")
    _refused("./nowhere", "does not exist")
    _refused("a/b/c", "does not exist")
    _refused(tmp_path, "has no config.json")
    (tmp_path / "file").write_text("x")
    _refused(tmp_path / "file", "is a file")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    _refused(tmp_path, "--intervention")
    _refused(tmp_path / "adapter", "--intervention")


@pytest.mark.parametrize("name", ["no-such-owner/no-such-model", "gpt2-with-a-typo", "not a valid id!"])
def test_hub_ids_without_a_network(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path))
    _refused(name, "model='tiny'")


def test_unknown_types_and_devices(saved: Path) -> None:
    _refused(saved, "dtype 'int3' is not known", dtype="int3")
    for device in ("nonsense", "cuda:99", "cpu:x"):
        _refused(saved, "can't be used here", device=device)


def test_code_of_a_repository_is_not_run(copied: Path) -> None:
    config = json.loads((copied / "config.json").read_text())
    config |= {"model_type": "custom", "auto_map": {"AutoConfig": "c.C", "AutoModelForCausalLM": "m.M"}}
    (copied / "config.json").write_text(json.dumps(config))
    (copied / "c.py").write_text("raise SystemExit('ran')")
    _refused(copied, "trust_remote_code=True")
