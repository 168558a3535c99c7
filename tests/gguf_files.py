"""Tiny GGUF files, as llama.cpp's converter writes them, for the tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from architectures import BOS, EOS, PAD, tiny_tokenizer

TEMPLATE = (
    "{% for message in messages %}<s>{{ message['role'] }}: {{ message['content'] }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant: {% endif %}"
)
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
F32, F16, Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16, gguf.GGMLQuantizationType.Q8_0


def tiny_llama(tied: bool = False, **more: Any) -> Any:
    """A llama of 2 layers and width 64 at random weights, drawn wide enough that its outputs aren't flat."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer(False)),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        **HEADS,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=tied,
        rms_norm_eps=1e-5,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        **more,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config).eval()


class Writer:
    """A GGUF file that can be spoilt before it is written."""

    def __init__(self, path: Path, architecture: str = "llama") -> None:
        self.path = path
        self.raw = gguf.GGUFWriter(str(path), architecture)

    def facts(self) -> Writer:
        """What a llama of `tiny_llama` says of itself."""
        self.raw.add_name("Tiny")
        self.raw.add_context_length(64)
        self.raw.add_block_count(2)
        self.raw.add_embedding_length(64)
        self.raw.add_feed_forward_length(96)
        self.raw.add_head_count(HEADS["num_attention_heads"])
        self.raw.add_head_count_kv(HEADS["num_key_value_heads"])
        self.raw.add_layer_norm_rms_eps(1e-5)
        self.raw.add_rope_dimension_count(16)
        self.raw.add_rope_freq_base(10_000.0)
        return self

    def tokenizer(self, kind: str = "gpt2", template: str | None = None) -> Writer:
        """The byte-level tokenizer of `tiny_tokenizer`."""
        tokenizer = tiny_tokenizer(False)
        vocabulary = tokenizer.get_vocab()
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
        self.raw.add_tokenizer_model(kind)
        self.raw.add_tokenizer_pre("gpt-2")
        self.raw.add_token_list(tokens)
        self.raw.add_token_types([3 if i in (PAD, BOS, EOS) else 1 for i in range(len(tokens))])
        self.raw.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in state["merges"]])
        self.raw.add_bos_token_id(BOS)
        self.raw.add_eos_token_id(EOS)
        self.raw.add_pad_token_id(PAD)
        if template is not None:
            self.raw.add_chat_template(template)
        return self

    def weights(self, model: Any, kind: Any = F32) -> Writer:
        """The weights of a llama; the matrices in blocks of the kind."""
        names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
        for name, tensor in model.state_dict().items():
            if name == "lm_head.weight" and model.config.tie_word_embeddings:
                continue
            weights = tensor.numpy()
            for part, heads in (("q_proj", "num_attention_heads"), ("k_proj", "num_key_value_heads")):
                if part in name:
                    weights = permuted(weights, HEADS[heads])
            self.tensor(names.get_name(name, (".weight",)), weights, kind if weights.ndim > 1 else F32)
        return self

    def tensor(self, name: str, weights: np.ndarray[Any, Any], kind: Any = F32) -> Writer:
        """One tensor."""
        self.raw.add_tensor(name, gguf.quantize(weights, kind), raw_dtype=kind)
        return self

    def write(self) -> Path:
        """Write what was added."""
        self.raw.write_header_to_file()
        self.raw.write_kv_data_to_file()
        self.raw.write_tensors_to_file()
        self.raw.close()
        return self.path


def permuted(weights: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Rows of each head in llama.cpp's order: it turns neighbours, and transformers halves."""
    rows = weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
    return rows.swapaxes(1, 2).reshape(weights.shape)


def tiny_gguf(path: Path, kind: Any = F32, tied: bool = False, template: str | None = TEMPLATE) -> Path:
    """A whole file."""
    return Writer(path).facts().tokenizer(template=template).weights(tiny_llama(tied), kind).write()
