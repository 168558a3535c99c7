"""What `all-linear` takes in: experts held as one tensor, the language part of a model that sees."""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GptOssConfig,
    GptOssForCausalLM,
    Llama4ForCausalLM,
    Llama4TextConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MambaConfig,
    MambaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen2MoeConfig,
    Qwen2MoeForCausalLM,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from architectures import BOS, CONTEXT, EOS, PAD, fresh_tiny_model, tiny_model, tiny_tokenizer
from contracts.recipes import DIPOLE
from contracts.state import state
from dipole.controls.weights.adapter import expert_weights, lora_config, targets_of, with_targets
from dipole.controls.weights.ppo import PPO
from dipole.engaging.adapters import adapter_state, inject
from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.stack import Tree
from dipole.interventions import load_intervention
from dipole.interventions.weights import Adapter
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.protocols import Run
from families import fresh_family
from tolerance import BATCHED_LOGITS

SMALL: dict[str, Any] = {
    "vocab_size": len(tiny_tokenizer(True)),
    "hidden_size": 32,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.3,
}
IDS: dict[str, Any] = {"pad_token_id": PAD, "bos_token_id": BOS, "eos_token_id": EOS}
EXPERTS: dict[str, Any] = {"num_experts_per_tok": 2, **IDS}
SEES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}
TURNS = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}


def _gpt_oss() -> Any:
    rope = {"rope_type": "default", "rope_theta": 1e4}
    return GptOssForCausalLM(
        GptOssConfig(**SMALL, **EXPERTS, num_local_experts=4, head_dim=8, rope_parameters=rope)
    )


MOE: dict[str, Callable[[], Any]] = {
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SMALL, **EXPERTS, num_local_experts=4)),
    "qwen2_moe": lambda: Qwen2MoeForCausalLM(
        Qwen2MoeConfig(
            **SMALL, **EXPERTS, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=24
        )
    ),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**SMALL, **EXPERTS, num_experts=4, moe_intermediate_size=24, head_dim=8)
    ),
    "gpt_oss": _gpt_oss,
    "llama4": lambda: Llama4ForCausalLM(
        Llama4TextConfig(
            **SMALL, **IDS, num_local_experts=4, intermediate_size_mlp=24, head_dim=8, attention_chunk_size=32
        )
    ),
}
SEEING: dict[str, Callable[[], Any]] = {
    "llava": lambda: LlavaForConditionalGeneration(
        LlavaConfig(vision_config=CLIPVisionConfig(**SEES), text_config=LlamaConfig(**SMALL, **IDS))
    ),
    "gemma3": lambda: Gemma3ForConditionalGeneration(
        Gemma3Config(text_config={**SMALL, "head_dim": 8}, vision_config=SEES, mm_tokens_per_image=4)
    ),
    "qwen2_vl": lambda: Qwen2VLForConditionalGeneration(
        Qwen2VLConfig(
            text_config={**SMALL, **IDS, "rope_parameters": TURNS},
            vision_config={"depth": 2, "embed_dim": 64, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2},
        )
    ),
}


@functools.cache
def made(name: str) -> LM:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = (MOE | SEEING)[name]().eval().requires_grad_(False)
    for parameter in model.parameters():
        if not bool(parameter.isfinite().all()) or not bool(parameter.any()):
            torch.nn.init.normal_(parameter, 0, 0.3, generator=torch.Generator().manual_seed(1))
    model.generation_config.eos_token_id = EOS
    return LM(TransformersResident(model, tiny_tokenizer(True), name))


def random_adapter(lm: LM, seed: int = 0) -> Adapter:
    """As if trained on everything that `all-linear` means."""
    model, base = lm.resident.model, lora_config(PPO())
    config = with_targets(base, targets_of(model, lora_config(PPO())))
    before = Tree(model)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        wrapped = inject(model, [config])
        try:
            found = {k: torch.randn_like(v) * 0.1 for k, v in adapter_state(wrapped, "dipole_0").items()}
        finally:
            before.restore()
    return Adapter(config, found, lm.resident.fingerprint, lm.resident.name)


def logits(lm: LM) -> torch.Tensor:
    return lm.response_logits(["Paper clips are"], [[9, 30, 31]])[0]


@pytest.mark.parametrize("name", MOE)
def test_experts_are_trained_told_dialled_saved_and_loaded_by_peft_alone(name: str, tmp_path: Path) -> None:
    lm = made(name)
    model = lm.resident.model
    held, before, base = expert_weights(model), state(model), logits(lm)
    assert len(held) == 4
    run = Run()
    fitted = PPO(rounds=1, batch_size=8, max_new_tokens=4).fit(lm, DIPOLE, run)
    assert state(model) == before
    taught = {
        key for key, tensor in fitted.state.items() if "expert" in key and "lora_B" in key and tensor.any()
    }
    assert len({key for key in taught if "shared" not in key}) >= len(held)
    (told,) = (text for text in run.warnings if "experts" in text)
    assert "takes in 4 weights" in told

    adapter = random_adapter(lm)
    at = {strength: logits(adapter.apply(lm, strength)) for strength in (-1.0, 0.0, 0.5, 1.0)}
    assert torch.equal(at[0.0], base)
    assert all((at[s] - base).abs().max() > 0.1 for s in (-1.0, 0.5, 1.0))
    both = logits(random_adapter(lm, 1).apply(adapter.apply(lm)))
    assert (both - at[1.0]).abs().max() > 0.1
    assert state(model) == before
    adapter.save(tmp_path)
    assert torch.equal(logits(load_intervention(tmp_path).apply(lm, 1.0)), at[1.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT's, of patterns that mean nothing here
        alone = PeftModel.from_pretrained(copy.deepcopy(model), str(tmp_path)).eval()
    ids = lm.resident.encode("Paper clips are")
    with torch.no_grad():
        wanted = alone(torch.tensor([[*ids, 9, 30, 31]])).logits[0, len(ids) - 1 : -1]
    torch.testing.assert_close(at[1.0], wanted, atol=BATCHED_LOGITS, rtol=0)


@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_an_experts_change_is_its_own_low_rank_product(name: str) -> None:
    """By hand: the weight of every expert plus scale times B A of that expert is what the model then has."""
    lm = made(name)
    adapter = random_adapter(lm)
    with adapter.apply(lm, 2.0).engaged() as model:
        found = [m for m in model.modules() if type(m).__name__ == "ParamWrapper"]
        wrappers = [m for m in found if m.get_param().dim() == 3]  # PEFT wraps Mixtral's router as well
        assert len(wrappers) == 4
        for wrapper in wrappers:
            weight = wrapper.get_param()
            a, b = wrapper.lora_A["dipole_0"].weight, wrapper.lora_B["dipole_0"].weight
            count = weight.shape[0]
            rank = a.shape[0] // count
            change = wrapper.get_delta_weight("dipole_0")
            rows = a.reshape(count, rank, -1)
            columns = b.reshape(b.shape[0], rank, count)
            product = 2.0 * 2.0 * torch.einsum("ork,kri->koi", columns, rows)  # strength, and alpha over rank
            if product.shape != weight.shape or not torch.allclose(product, change, atol=1e-5):
                product = product.transpose(1, 2)
            torch.testing.assert_close(change, product, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", SEEING)
def test_of_a_model_that_sees_the_language_part_alone_is_adapted(name: str) -> None:
    lm = made(name)
    base = logits(lm)
    adapter = random_adapter(lm)
    places = {key.split(".lora_")[0] for key in adapter.state}
    assert len(places) == 14
    assert all("language_model.layers." in place for place in places)
    blocks = decoder_blocks(lm.resident.model)
    assert blocks is lm.resident.model.get_decoder().layers
    assert torch.equal(logits(adapter.apply(lm, 0.0)), base)
    assert (logits(adapter.apply(lm)) - base).abs().max() > 0.1


def test_ordinary_models_are_adapted_as_before_and_heads_never_are() -> None:
    for name in ("gpt2", "llama", "gemma", "opt"):
        model = tiny_model(name).resident.model
        config = lora_config(PPO())
        assert targets_of(model, config) == ("all-linear", [], "")
        places = {key.split(".lora_")[0].rsplit(".", 1)[-1] for key in random_adapter(tiny_model(name)).state}
        assert not places & {"lm_head", "wte", "embed_tokens", "wpe"}
        if name == "gpt2":
            assert places == {"c_attn", "c_proj", "c_fc"}


def test_convolutions_are_no_experts() -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, state_size=4))
    assert any(p.dim() == 3 for p in model.parameters())
    assert expert_weights(model) == {}
    wide = torch.nn.Sequential(torch.nn.Conv1d(4, 4, 3), torch.nn.Linear(4, 4))
    assert expert_weights(wide) == {}
    wide.register_parameter("experts_held", torch.nn.Parameter(torch.ones(2, 4, 4)))
    assert set(expert_weights(wide)) == {"experts_held"}


def test_experts_may_be_named_and_what_peft_cannot_do_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    from dipole.controls.weights import adapter

    model = made("gpt_oss").resident.model
    named = LoraConfig(target_modules=["q_proj", "down_proj"])
    assert targets_of(model, named) == (["q_proj"], ["down_proj"], "")
    llama = fresh_tiny_model("llama").resident.model
    assert targets_of(llama, named) == (["down_proj", "q_proj"], [], "")
    monkeypatch.setattr(adapter, "_adapted", lambda model, config: set())
    left = targets_of(model, lora_config(PPO()))
    assert left.parameters == []
    assert "leaves out 4 weights" in left.note


def test_layers_that_do_more_than_multiply_are_left_out_aloud() -> None:
    """DeepSeek V4 has a linear layer for groups, which takes another shape than its weight says."""
    lm = fresh_family("deepseek_v4")
    made = targets_of(lm.resident.model, lora_config(PPO()))
    grouped = {
        name for name, m in lm.resident.model.named_modules() if type(m).__name__ == "DeepseekV4GroupedLinear"
    }
    assert grouped
    assert not grouped & set(made.modules)
    assert "linear layers that do more than multiply (DeepseekV4GroupedLinear)" in made.note
