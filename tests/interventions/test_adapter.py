"""The weights surface: what an adapter does, how it is saved, and what is refused."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from peft import IA3Config, LoraConfig, PromptTuningConfig
from safetensors.torch import load_file, save_file

from architectures import fresh_tiny_model, tiny_model
from contracts.recipes import linear_names, random_adapter
from contracts.state import state
from contracts.test_interventions import logits
from dipole.engaging.adapters import inject
from dipole.interventions import Adapter, load_intervention
from dipole.lm import LM
from dipole.types import UserError
from tolerance import BATCHED_LOGITS

LAYER = "model.layers.0.self_attn.q_proj"
PEFT_ALONE = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21 asks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random_adapter(tiny_model("llama")).save(tmp_path / "adapter")
    return tmp_path / "adapter"


def _layer_output(lm: LM) -> torch.Tensor:
    with lm.engaged() as model:
        output: torch.Tensor = model.get_submodule(LAYER)(torch.linspace(-1, 1, 32))
        return output


@pytest.mark.parametrize(
    "config", [{}, {"use_rslora": True}, {"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 7}}]
)
def test_strength_scales_the_low_rank_change(config: dict[str, Any], tmp_path: Path) -> None:
    lm = tiny_model("llama")
    adapter = random_adapter(lm, **config)
    made = [adapter, (adapter.save(tmp_path), load_intervention(tmp_path))[1]]
    key = f"base_model.model.{LAYER}.lora_"
    low, high = (adapter.state[f"{key}{part}.weight"] for part in "AB")
    rank = config.get("rank_pattern", {"q_proj": 2})["q_proj"]
    alpha = config.get("alpha_pattern", {"q_proj": 4})["q_proj"]
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    base = _layer_output(lm)
    change = scale * (high @ (low @ torch.linspace(-1, 1, 32)))
    for each in made:
        for strength in (-2.0, 0.25, 1.0, 3.0):
            torch.testing.assert_close(
                _layer_output(each.apply(lm, strength)), base + strength * change, atol=1e-5, rtol=0
            )


def test_adapters_add_up_in_any_order() -> None:
    lm = tiny_model("llama")
    one, other = random_adapter(lm, 1), random_adapter(lm, 2, r=3, target_modules=["q_proj", "up_proj"])
    base = _layer_output(lm)
    changes = [_layer_output(a.apply(lm, s)) - base for a, s in ((one, 0.7), (other, -1.5))]
    there = other.apply(one.apply(lm, 0.7), -1.5)
    back = one.apply(other.apply(lm, -1.5), 0.7)
    torch.testing.assert_close(_layer_output(there) - base, sum(changes), atol=1e-5, rtol=0)
    torch.testing.assert_close(logits(there), logits(back), atol=BATCHED_LOGITS, rtol=0)


@PEFT_ALONE
@pytest.mark.filterwarnings(
    "ignore:fan_in_fan_out is set to False:UserWarning"
)  # it then does the right thing
@pytest.mark.parametrize("name", ["gpt2", "llama", "falcon"])
def test_peft_loads_it_without_us_and_we_load_what_peft_wrote(name: str, tmp_path: Path) -> None:
    lm = tiny_model(name)
    adapter = random_adapter(lm)
    adapter.save(tmp_path / "ours")
    model = fresh_tiny_model(name).resident.model
    wrapped = peft.PeftModel.from_pretrained(model, str(tmp_path / "ours"))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad(), adapter.apply(lm).engaged() as engaged:
        assert torch.equal(wrapped(input_ids=ids).logits, engaged(input_ids=ids).logits)
    wrapped.save_pretrained(str(tmp_path / "theirs"))
    theirs = load_intervention(tmp_path / "theirs")
    assert isinstance(theirs, Adapter)
    assert theirs.base_fingerprint is None
    for strength in (1.0, -0.5):
        assert torch.equal(logits(theirs.apply(lm, strength)), logits(adapter.apply(lm, strength)))


@PEFT_ALONE
def test_embeddings_that_peft_stores_beside_the_adapter(tmp_path: Path) -> None:
    lm = tiny_model("llama")
    model = fresh_tiny_model("llama").resident.model
    config = LoraConfig(target_modules=["embed_tokens", "q_proj"], init_lora_weights="gaussian")
    wrapped = peft.PeftModel(model, config)
    wrapped.save_pretrained(str(tmp_path), save_embedding_layers=True)
    keys = load_file(tmp_path / "adapter_model.safetensors")
    extra = [k for k in keys if "base_layer" in k]
    assert extra
    before = state(lm.resident.model)
    ids = torch.tensor([[5, 6]])
    with load_intervention(tmp_path).apply(lm).engaged() as engaged:
        assert torch.equal(engaged(input_ids=ids).logits, wrapped(input_ids=ids).logits)
    save_file({**keys, extra[0]: keys[extra[0]] + 1}, tmp_path / "adapter_model.safetensors")
    with pytest.raises(UserError, match="too many"):
        load_intervention(tmp_path).apply(lm).generate("a", max_new_tokens=1)
    assert state(lm.resident.model) == before


def test_a_saved_folder_says_what_it_is(folder: Path) -> None:
    names = {p.name for p in folder.iterdir()}
    assert names == {"adapter_config.json", "adapter_model.safetensors", "dipole.json", "README.md"}
    meta = json.loads((folder / "dipole.json").read_text())
    assert meta == {
        "surface": "weights",
        "kind": "adapter",
        "base": "llama",
        "base_fingerprint": tiny_model("llama").resident.fingerprint,
        "facts": {},
    }
    assert "base_model" in (folder / "README.md").read_text()
    loaded = load_intervention(folder)
    loaded.save(folder.parent / "again")
    for name in names:
        assert (folder.parent / "again" / name).read_bytes() == (folder / name).read_bytes()


def _inside(outer: LM, inner: LM) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[5, 6, 7]])
    with outer.engaged() as model:
        with inner.engaged() as same:
            assert same is model
            within = model(input_ids=ids).logits
        return within, model(input_ids=ids).logits


def test_nested_engagements_each_see_their_own() -> None:
    lm = fresh_tiny_model("llama")
    one, other = (random_adapter(lm, seed).apply(lm) for seed in (1, 2))
    ids = torch.tensor([[5, 6, 7]])
    alone = {}
    before = state(lm.resident.model)
    for key, each in (("base", lm), ("one", one), ("other", other)):
        with each.engaged() as model:
            alone[key] = model(input_ids=ids).logits
    for inner, key in ((lm, "base"), (other, "other"), (one, "one")):
        within, after = _inside(one, inner)
        assert torch.equal(within, alone[key])
        assert torch.equal(after, alone["one"])
    with pytest.raises(ZeroDivisionError), one.engaged(), lm.engaged(), other.engaged():
        _ = 1 / 0
    assert state(lm.resident.model) == before


def test_an_adapter_under_training_is_the_model_as_it_stands() -> None:
    lm = fresh_tiny_model("llama")
    adapter = random_adapter(lm)
    before, base = state(lm.resident.model), logits(lm)
    wrapped = inject(lm.resident.model, [adapter.config])
    for name, parameter in wrapped.named_parameters():
        if "lora_" in name:
            parameter.data.fill_(0.1)
    assert not torch.equal(logits(lm), base)
    with wrapped.disable_adapter():
        assert torch.equal(logits(lm), base)
    with pytest.raises(RuntimeError, match="in place"):
        adapter.apply(lm).generate("a", max_new_tokens=1)
    assert not torch.equal(logits(lm), base)
    wrapped.unload()
    lm.resident.model.requires_grad_(False)
    assert state(lm.resident.model) == before


@pytest.mark.parametrize(
    "config",
    [
        LoraConfig(target_modules=["no_such_module"]),
        LoraConfig(target_modules=["q_proj"], layers_to_transform=[99]),
        LoraConfig(target_modules=["q_proj"], init_lora_weights="pissa"),
        LoraConfig(target_modules=["q_proj"], init_lora_weights="olora"),
        LoraConfig(target_modules=["q_proj"], bias="all"),
        LoraConfig(target_modules=["q_proj"], bias="lora_only"),
        LoraConfig(target_modules=["q_proj"], layer_replication=[(0, 2), (1, 3)]),
        PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM"),
    ],
    ids=["module", "layer", "pissa", "olora", "bias", "lora_bias", "replication", "prompt"],
)
def test_adapters_that_do_not_fit_are_refused(config: Any) -> None:
    lm = fresh_tiny_model("llama")
    adapter = Adapter(config, {}, None, "another")
    before = state(lm.resident.model)
    with pytest.raises(UserError, match=r"does not fit|changes the base model itself|virtual tokens"):
        adapter.apply(lm).generate("a", max_new_tokens=1)
    assert state(lm.resident.model) == before


def test_tensors_that_do_not_fit_are_refused() -> None:
    lm = fresh_tiny_model("llama")
    adapter = random_adapter(lm)
    before = state(lm.resident.model)
    name = next(iter(adapter.state))
    rest = {k: v for k, v in adapter.state.items() if k != name}
    for broken in (
        {**rest, name: torch.zeros(3, 3)},
        rest,
        {**adapter.state, "base_model.model.x": torch.zeros(1)},
        {},
    ):
        with pytest.raises(UserError, match="does not fit"):
            dataclasses.replace(adapter, state=broken).apply(lm).generate("a", max_new_tokens=1)
        assert state(lm.resident.model) == before


@pytest.mark.parametrize("config", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}])
def test_what_is_only_partly_scaled_has_no_graded_strength(config: dict[str, Any]) -> None:
    lm = fresh_tiny_model("gpt_neox")
    before, base = state(lm.resident.model), logits(lm)
    adapter = random_adapter(lm, **config)
    assert not torch.equal(logits(adapter.apply(lm)), base)
    assert torch.equal(logits(adapter.apply(lm, 0)), base)
    with pytest.raises(UserError, match="no graded strength"):
        adapter.apply(lm, 0.5)
    assert state(lm.resident.model) == before


def test_kinds_without_a_scale_work_at_strength_1() -> None:
    lm = fresh_tiny_model("llama")
    adapter = random_adapter(lm)
    config = IA3Config(target_modules=["k_proj", "down_proj"], feedforward_modules=["down_proj"])
    wrapped = inject(lm.resident.model, [config])
    tensors = {
        k: v + 0.5 for k, v in peft.get_peft_model_state_dict(wrapped, adapter_name="dipole_0").items()
    }
    wrapped.unload()
    lm.resident.model.requires_grad_(False)
    ia3 = Adapter(config, tensors, None, "llama")
    assert not torch.equal(logits(ia3.apply(lm)), logits(lm))
    with pytest.raises(UserError, match="no graded strength"):
        ia3.apply(lm, 2.0)
    with pytest.raises(UserError, match="different kinds"):
        adapter.apply(ia3.apply(lm)).generate("a", max_new_tokens=1)


def test_configs_and_random_numbers_are_left_alone() -> None:
    lm = tiny_model("llama")
    adapter = random_adapter(lm)
    config, random_state = copy.deepcopy(adapter.config.to_dict()), torch.random.get_rng_state()
    adapter.apply(adapter.apply(lm), 0.5).generate("a", max_new_tokens=1)
    assert adapter.config.to_dict() == config
    assert torch.equal(torch.random.get_rng_state(), random_state)
    assert linear_names(lm)


def test_tied_embeddings_stay_tied() -> None:
    lm = fresh_tiny_model("gpt2")
    assert lm.resident.model.lm_head.weight is lm.resident.model.transformer.wte.weight
    before = state(lm.resident.model)
    adapter = random_adapter(lm, target_modules=["wte", "c_attn"])
    assert not torch.equal(logits(adapter.apply(lm)), logits(lm))
    assert lm.resident.model.lm_head.weight is lm.resident.model.transformer.wte.weight
    assert state(lm.resident.model) == before


@pytest.mark.parametrize("size", [0, 4, 100, 2000])
def test_truncated_weights(folder: Path, size: int) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(UserError, match="truncated or corrupt"):
        load_intervention(folder)


@pytest.mark.parametrize("name", ["adapter_config.json", "dipole.json"])
@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"peft_type": "NONSENSE", "surface": "weights"}', "\x00"]
)
def test_corrupt_json(folder: Path, name: str, content: str) -> None:
    if name == "dipole.json" and "NONSENSE" in content:
        pytest.skip("is a valid dipole.json")
    (folder / name).write_text(content)
    with pytest.raises(UserError, match=r"truncated or corrupt|does not\s+know"):
        load_intervention(folder)


def test_values_that_are_not_finite(folder: Path) -> None:
    tensors = load_file(folder / "adapter_model.safetensors")
    save_file({k: v * torch.nan for k, v in tensors.items()}, folder / "adapter_model.safetensors")
    with pytest.raises(UserError, match="not finite"):
        load_intervention(folder)


def test_missing_files_and_pickles(folder: Path) -> None:
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        broken = Path(shutil.copytree(folder, folder.parent / name))
        (broken / name).unlink()
        with pytest.raises(UserError, match=f"{name} is missing"):
            load_intervention(broken)
    (broken / "adapter_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(UserError, match="is a pickle"):
        load_intervention(broken)
    (broken / "dipole.json").unlink()
    with pytest.raises(UserError, match="is a pickle"):
        load_intervention(broken)
