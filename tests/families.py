"""A tiny random model of every causal family that the installed transformers can build.

The default config of a family is shrunk by the names of its fields (`SMALL`), with a few families' own values
in `OWN`. Lists that name the kind of each layer are cut so that every kind is there. Weights are drawn wide
enough that outputs aren't flat, and not so wide that rounding grows from layer to layer.
"""

from __future__ import annotations

import copy
import functools
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.utils import logging

from architectures import BOS, EOS, PAD, tiny_tokenizer
from dipole.lm import LM
from dipole.models.resident import TransformersResident

CONTEXT = 128
_WIDTH, _LAYERS, _VOCABULARY = 32, 4, 300
_GAIN = 1.5


def _same(value: Any, names: str) -> dict[str, Any]:
    return dict.fromkeys(names.split(), value)


# What a field of that name becomes, wherever a config has it.
SMALL: dict[str, Any] = {
    # width of the stream
    **_same(
        _WIDTH, "hidden_size n_embd d_model emb_dim embedding_size hidden_size_global embedding_dim lru_width"
    ),
    **_same(_WIDTH, "word_embed_proj_dim input_embedding_size output_embedding_size attention_hidden_size"),
    # width of what lies inside a block
    **_same(64, "intermediate_size moe_intermediate_size decoder_ffn_dim encoder_ffn_dim ffn_dim dim_ff dff"),
    **_same(64, "shared_expert_intermediate_size shared_intermediate_size shared_experts_intermediate_size"),
    **_same(64, "intermediate_size_mlp ffn_hidden_size expert_ffn_hidden_size dense_intermediate_size"),
    **_same(64, "moe_shared_expert_intermediate_size feed_forward_size d_inner"),
    # depth
    **_same(
        _LAYERS, "num_hidden_layers decoder_layers encoder_layers n_layer n_layers num_layers num_blocks"
    ),
    **_same(_LAYERS, "num_decoder_layers num_encoder_layers"),
    # heads
    **_same(
        4, "num_attention_heads decoder_attention_heads encoder_attention_heads n_head n_heads num_heads"
    ),
    **_same(4, "attention_heads num_decoder_attention_heads num_encoder_attention_heads index_n_heads"),
    **_same(4, "swa_num_attention_heads linear_num_heads linear_num_value_heads"),
    **_same(2, "num_key_value_heads num_kv_heads swa_num_key_value_heads linear_num_key_heads"),
    **_same(
        8, "head_dim swa_head_dim linear_head_dim linear_key_head_dim linear_value_head_dim index_head_dim"
    ),
    **_same(8, "v_head_dim qk_nope_head_dim qk_rope_head_dim dim_head d_head kv_channels global_head_dim"),
    **_same(8, "rotary_dim query_pre_attn_scalar attention_head_size d_rel hidden_size_per_layer_input"),
    **_same(16, "kv_lora_rank q_lora_rank o_lora_rank adapter_rank laurel_rank"),
    # experts
    **_same(4, "num_experts n_routed_experts num_local_experts moe_num_experts zero_expert_num"),
    **_same(2, "num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts"),
    **_same(1, "n_group topk_group num_expert_group first_k_dense_replace"),
    # recurrence
    **_same(8, "mamba_d_state state_size ssm_state_size"),
    **_same(4, "mamba_n_heads mamba_num_heads n_mamba_heads mamba_dt_rank time_step_rank"),
    **_same(16, "mamba_d_head mamba_head_dim mamba_headdim mamba_chunk_size chunk_size"),
    **_same(1, "mamba_n_groups n_groups mamba_ngroups"),
    # vocabulary and lengths
    **_same(_VOCABULARY, "vocab_size vocab_size_per_layer_input decoder_vocab_size unpadded_vocab_size"),
    **_same(
        CONTEXT, "max_position_embeddings n_positions max_seq_len context_length n_ctx rel_extent seq_length"
    ),
    **_same(CONTEXT, "max_source_positions max_target_positions model_max_length"),
    **_same(12, "sliding_window window_size attention_window_size attention_chunk_size sliding_window_size"),
    "bos_token_id": BOS,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
    "dropout": 0.0,
}

# Where the names above don't fit together.
_LATENT = {"num_key_value_heads": 4}  # latent attention has as many heads of keys as of queries
_HEADS = {"head_dim": 8}
_INDEXER = {
    "indexer_n_heads": 4, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}  # fmt: skip
_NOTE = {
    **_LATENT,
    **_same(4, "swa_num_attention_heads swa_num_key_value_heads"),
    **_same(16, "swa_q_lora_rank swa_kv_lora_rank swa_head_dim"),
    **_same(8, "swa_qk_nope_head_dim swa_v_head_dim"),
}
_ALTERNATING = ["linear_attention", "hybrid", "linear_attention", "hybrid"]
_ROPE = {"rope_type": "default", "rope_theta": 1e4}
OWN: dict[str, dict[str, Any]] = {
    **_same(_LATENT, "axk1 axk2 bailing_hybrid deepseek_v3 deepseek_v32 glm4_moe_lite"),
    **_same(_LATENT, "glm_moe_dsa kimi_linear longcat_flash minicpm3 youtu"),
    **_same(_HEADS, "hunyuan_v1_dense hunyuan_v1_moe ministral"),
    "bamba": {"attn_layer_indices": [1, 3]},
    "blt": {"encoder_hash_byte_group_vocab": 300},
    "cohere_compass_text": {"rope_parameters": {"full_attention": _ROPE, "sliding_attention": _ROPE}},
    "dbrx": {"attn_config": {"rope_theta": 1e4, "kv_n_heads": 2, "clip_qkv": 8.0}},
    "deepseek_v2": {**_LATENT, "num_experts_per_tok": 2},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note": {
        "text_config": _NOTE,
        "vision_config": {"adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "dots3_note_text": _NOTE,
    "falcon_h1": {"mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 0, "num_hidden_layers": 5},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "mamba2": {"head_dim": 16},
    "nemotron": {"num_key_value_heads": 2},
    "qwen4_exp": {"text_config": _INDEXER},
    "qwen4_exp_text": _INDEXER,
    "reformer": {
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "lsh_attn_chunk_length": 8,
        "local_attn_chunk_length": 8,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "layers_block_type": [*_ALTERNATING, "linear_attention"],
        "num_hidden_layers": 5,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "n_mamba_heads": 2,
    },
    "zamba2": {
        "layers_block_type": _ALTERNATING,
        "hybrid_layer_ids": [1, 3],
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "mamba_headdim": 16,
    },
    "zaya": {"num_experts_per_tok": 1},
}

# Families that transformers itself can't build from a config of their own, or not from one alone.
_DRAFT = "It is a draft model, which reads the keys and values of the model that it drafts for."
_MUSIC = (
    "AutoModelForCausalLM can't build it: it hands the config of the whole to its decoder, which is of music."
)
UNBUILT: dict[str, str] = {
    "gemma3n": "It has a vision tower of the package timm, which is no dependency; gemma3n_text is its text.",
    **_same(_DRAFT, "gemma4_assistant gemma4_unified_assistant"),
    **_same(_MUSIC, "musicgen musicgen_melody"),
}

# Lists that name the kind of each layer.
_KINDS = (
    "layer_types",
    "layers_block_type",
    "block_types",
    "mlp_layer_types",
    "attn_layers",
    "indexer_types",
)


def family_names() -> Sequence[str]:
    """Every family of which transformers has a causal model."""
    return list(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def tiny_config(name: str, **own: Any) -> Any:
    """The family's default config, made small."""
    return _shrunk(CONFIG_MAPPING[name], {**OWN.get(name, {}), **own})


def _shrunk(kind: Any, own: dict[str, Any]) -> Any:
    whole = kind(**own.pop("default", {}))
    fields = whole.to_dict()
    values = {field: value for field, value in SMALL.items() if fields.get(field) is not None}
    if "is_decoder" in fields and not fields.get("is_encoder_decoder"):
        values["is_decoder"] = True
    for part in kind.sub_configs:
        if fields.get(part) is not None:
            inner = dict(own.pop(part, {}))
            values[part] = _shrunk(type(getattr(whole, part)), inner)
    values |= own
    depth = next((values[n] for n in ("num_hidden_layers", "n_layer", "num_layers") if n in values), _LAYERS)
    for field in _KINDS:
        if fields.get(field) and field not in own:
            values[field] = _one_of_each(fields[field], depth)
    return kind(**values)


def _one_of_each(kinds: Sequence[str], depth: int) -> list[str]:
    """The first layers, the last of them made such that every kind is there."""
    wanted = list(dict.fromkeys(kinds))
    cut = list(kinds[:depth])
    missing = [kind for kind in wanted if kind not in cut]
    return [*cut[: depth - len(missing)], *missing]


@functools.cache
def _shared(name: str, decoder: bool) -> Any:
    own = {} if decoder else {"is_decoder": False}
    level = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), torch.random.fork_rng():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            model: Any = AutoModelForCausalLM.from_config(tiny_config(name, **own))
            _draw(model)
    finally:
        logging.set_verbosity(level)
    return model.eval().requires_grad_(False)


def _draw(model: Any) -> None:
    """Wide weights for all matrices; vectors (norms, biases, decays) stay as the family makes them."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2 and parameter.is_floating_point():
                parameter.normal_(0, _GAIN / _WIDTH**0.5)


def fresh_family(name: str, decoder: bool = True) -> LM:
    """A tiny random LM of a family, of its own: nothing has been called on it."""
    return LM(TransformersResident(copy.deepcopy(_shared(name, decoder)), tiny_tokenizer(False), name))
