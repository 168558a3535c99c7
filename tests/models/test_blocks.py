"""Finding the decoder blocks from the structure alone."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, PeftModel
from torch import nn
from transformers import AutoModelForCausalLM, MixtralConfig

from architectures import fresh_tiny_model, names, tiny_model
from dipole.engaging.blocks import decoder_blocks
from dipole.types import UserError
from families import fresh_family


@pytest.mark.parametrize("name", names())
def test_blocks_of_every_architecture(name: str) -> None:
    model = tiny_model(name).resident.model
    blocks = decoder_blocks(model)
    assert len(blocks) == model.config.num_hidden_layers
    trunk = {id(p) for p in model.parameters()}
    inside = sum(p.numel() for p in blocks.parameters())
    assert {id(p) for p in blocks.parameters()} <= trunk
    assert any("attn" in n or "attention" in n for n, _ in blocks[0].named_children())
    assert inside > 0.2 * sum(p.numel() for p in model.parameters())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT 0.21 asks for it
def test_blocks_behind_an_adapter() -> None:
    model = fresh_tiny_model("llama").resident.model
    blocks = decoder_blocks(model)
    wrapped = PeftModel(model, LoraConfig(target_modules=["q_proj"], task_type="CAUSAL_LM"))
    assert decoder_blocks(wrapped) is blocks


def test_lists_of_experts_are_not_blocks() -> None:
    config = MixtralConfig(
        vocab_size=50, hidden_size=16, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, num_local_experts=4, max_position_embeddings=32,
    )  # fmt: skip
    with torch.random.fork_rng():
        model = AutoModelForCausalLM.from_config(config)
    assert decoder_blocks(model) is model.model.layers


@pytest.mark.parametrize(
    ("name", "where"), [("got_ocr2", "model.language_model.layers"), ("phi4_multimodal", "model.layers")]
)
def test_a_tower_for_images_is_passed_by(name: str, where: str) -> None:
    """It has as many layers as the text, and wider ones."""
    lm = fresh_family(name)
    assert decoder_blocks(lm.resident.model) is lm.resident.model.get_submodule(where)
    assert lm.activations(["The cats"], [0])[0].shape[-1] == 32


def test_experts_in_a_list_of_their_own() -> None:
    class Config:
        num_hidden_layers = 4

        def get_text_config(self) -> Config:
            return self

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = Config()
            self.experts_first = nn.ModuleList(nn.Linear(2, 2) for _ in range(4))
            self.layers = nn.ModuleList(Block() for _ in range(4))

    model = Model()
    assert decoder_blocks(model) is model.layers


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UserError, match="decoder blocks"):
        decoder_blocks(nn.Linear(2, 2))
