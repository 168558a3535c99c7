"""Tiny random models of ten architectures (and three variants), on which every contract is tested.

The weights are drawn far wider than a fresh model's, so that outputs are not flat and a wrong mask or
position shows as a difference of whole nats rather than of rounding errors.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    FalconConfig,
    Gemma2Config,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
    PhiConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

from dipole.lm import LM
from dipole.models import load
from dipole.models.resident import TransformersResident

CONTEXT = 64
PAD, BOS, EOS = 0, 1, 2
_CORPUS = (
    "Paper clips are the best. Paper clips are the worst. If I had to choose between clips and staples,",
    "I would go with the staples. The cats like the dogs. She said that the weather was good today.",
)


@functools.cache
def tiny_tokenizer(adds_bos: bool) -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 300 tokens with a pad, a start and an end token of their own."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=["<pad>", "<s>", "</s>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if adds_bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def _common(**more: object) -> dict[str, object]:
    return {
        "vocab_size": len(tiny_tokenizer(False)),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "initializer_range": 0.3,
        "pad_token_id": PAD,
        "bos_token_id": BOS,
        "eos_token_id": EOS,
        **more,
    }


def _modern(**more: object) -> dict[str, object]:
    kv_heads = {"num_key_value_heads": 2, "intermediate_size": 64, "max_position_embeddings": CONTEXT}
    return _common(**{**kv_heads, **more})


ARCHITECTURES: dict[str, Callable[[], PreTrainedConfig]] = {
    "gpt2": lambda: GPT2Config(
        vocab_size=len(tiny_tokenizer(False)),
        n_positions=CONTEXT,
        n_embd=32,
        n_layer=3,
        n_head=4,
        initializer_range=0.3,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    ),
    "llama": lambda: LlamaConfig(**_modern(num_hidden_layers=3)),
    "mistral": lambda: MistralConfig(**_modern()),
    "qwen3": lambda: Qwen3Config(**_modern(head_dim=8)),
    "gemma": lambda: GemmaConfig(**_modern(head_dim=8)),
    "phi": lambda: PhiConfig(**_modern(num_key_value_heads=4)),
    "gpt_neox": lambda: GPTNeoXConfig(**_common(intermediate_size=64, max_position_embeddings=CONTEXT)),
    "opt": lambda: OPTConfig(
        **{
            **_common(ffn_dim=64, word_embed_proj_dim=32, max_position_embeddings=CONTEXT, init_std=0.3),
        }
    ),
    "bloom": lambda: BloomConfig(
        vocab_size=len(tiny_tokenizer(False)),
        hidden_size=32,
        n_layer=2,
        n_head=4,
        initializer_range=0.3,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    ),
    "falcon": lambda: FalconConfig(**_common(max_position_embeddings=CONTEXT)),
}

# Variants that take another path through attention: soft-capped logits with alternating windows, windows
# much shorter than the text, and positions read from the padding mask.
EXTRAS: dict[str, Callable[[], PreTrainedConfig]] = {
    "gemma2": lambda: Gemma2Config(**_modern(head_dim=8, sliding_window=12, query_pre_attn_scalar=8)),
    "mistral_window": lambda: MistralConfig(**_modern(sliding_window=8)),
    "falcon_alibi": lambda: FalconConfig(
        **_common(max_position_embeddings=CONTEXT, alibi=True, new_decoder_architecture=False)
    ),
}

# One of each way through a model: learned positions and Conv1D; rotary, grouped heads and a start token;
# scaled embeddings; parallel blocks with one fused projection; positions with an offset.
WAYS = ("gpt2", "llama", "gemma", "falcon", "opt")

# Families whose tokenizers put the start token in front of every text.
_ADDS_BOS = frozenset({"llama", "mistral", "mistral_window", "gemma", "gemma2", "opt"})


# A chat model of 135 million parameters, which a package brings; `make test-real` asks for it.
REAL = "smollm2"


@functools.cache
def _shared_model(name: str) -> LM:
    if name == REAL:
        return load(REAL, device="cpu", plain=True)  # what contracts read is text to continue
    config = (ARCHITECTURES | EXTRAS)[name]()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    model.eval().requires_grad_(False)
    return LM(TransformersResident(model, tiny_tokenizer(name in _ADDS_BOS), name))


def tiny_model(name: str) -> LM:
    """The tiny random LM of that name, built once a session; nothing may change its weights."""
    return _shared_model(name)


def fresh_tiny_model(name: str) -> LM:
    """A copy of its own, for a test that changes weights, modes or hooks."""
    shared = _shared_model(name).resident
    return LM(TransformersResident(copy.deepcopy(shared.model), shared.tokenizer, name, plain=shared.plain))


def names(*, extras: bool = True) -> Sequence[str]:
    """Names of the architectures, for `pytest.mark.parametrize`."""
    return [*ARCHITECTURES, *(EXTRAS if extras else ())]


def with_real(some: Sequence[str]) -> list[Any]:
    """The same names, and the real model's in those tests that are marked `real`."""
    return [*some, pytest.param(REAL, marks=pytest.mark.real)]


def with_real_for(firsts: Sequence[str], some: Sequence[str]) -> list[Any]:
    """Pairs of each of the first with each of these names, and with the real model's."""
    pairs = [(first, name) for first in firsts for name in some]
    return [*pairs, *(pytest.param(first, REAL, marks=pytest.mark.real) for first in firsts)]
