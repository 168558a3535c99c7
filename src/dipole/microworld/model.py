"""The bundled models' sizes, and a fast training loss that computes what `LlamaForCausalLM` computes.

The loss is a pure function of the parameters. It exists because compiled, in bfloat16 and with attention held
to short rows it trains three times as fast on a CPU as the model's own forward; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from dipole.microworld.data import IGNORED

Parameters = Mapping[str, Tensor]
HALF = torch.bfloat16


@dataclass(frozen=True)
class Size:
    """Hyper-parameters of a bundled model.

    Attributes:
        layers: decoder blocks.
        width: of the residual stream.
        heads: of attention.
        inner: width of the MLP.
        vocabulary: entries of the tokenizer.
        whole_words: whether tokens may be whole words (see `tokenizer.train_tokenizer`).
        lengths: row lengths in training, tokens.
        batch_tokens: tokens of one step, padding counted.
        learning_rate: at its peak.
    """

    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int
    whole_words: bool
    lengths: tuple[int, ...]
    batch_tokens: int
    learning_rate: float


SIZES: dict[str, Size] = {
    "tiny": Size(4, 192, 3, 512, 1536, True, (64, 128, 256), 12288, 4e-3),
    "mini": Size(3, 96, 3, 256, 768, False, (64, 128, 256), 8192, 6e-3),
    "test": Size(1, 32, 2, 64, 320, False, (64, 128, 256), 1024, 4e-3),
}


def build(size: Size, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A model of that size with fresh weights, drawn from torch's global generator."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        intermediate_size=size.inner,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        rms_norm_eps=1e-6,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    return model


def segment_mask(segments: Tensor, dtype: torch.dtype) -> Tensor:
    """What attention adds: 0 within a document towards the past, a very negative number elsewhere.

    Args:
        segments: number of each token's document. (batch, time)
        dtype: of the mask. Returned as (batch, 1, time, time).
    """
    time = segments.shape[1]
    past = torch.ones(time, time, dtype=torch.bool, device=segments.device).tril()
    allowed = (segments[:, :, None] == segments[:, None, :]) & past
    return torch.where(allowed, 0.0, -1e9).to(dtype)[:, None]


def targets(ids: Tensor, segments: Tensor) -> Tensor:
    """The next token of each position within its document, else IGNORED; (batch, time)."""
    following = torch.full_like(ids, IGNORED)
    inside = (segments[:, 1:] == segments[:, :-1]) & (segments[:, 1:] != 255)
    following[:, :-1] = torch.where(inside, ids[:, 1:], IGNORED)
    return following


def _normalized(x: Tensor, weight: Tensor) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6) * weight).to(x.dtype)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat([-second, first], -1) * sin


def forward(p: Parameters, heads: int, ids: Tensor, segments: Tensor, dtype: torch.dtype = HALF) -> Tensor:
    """The last hidden states of a Llama with these parameters; (batch, time, width).

    Positions count from the start of the row: rotary attention sees differences only.
    """
    batch, time = ids.shape
    x = F.embedding(ids, p["model.embed_tokens.weight"].to(dtype))
    size = x.shape[-1] // heads
    frequencies = 10000.0 ** -(torch.arange(0, size, 2, device=ids.device) / size)
    angles = torch.outer(torch.arange(time, device=ids.device).float(), frequencies)
    cos, sin = (torch.cat([f(angles)] * 2, -1).to(dtype) for f in (torch.cos, torch.sin))
    mask = segment_mask(segments, torch.float32)
    layer = 0
    while (at := f"model.layers.{layer}.") + "input_layernorm.weight" in p:
        h = _normalized(x, p[at + "input_layernorm.weight"])
        weights = torch.cat([p[f"{at}self_attn.{n}_proj.weight"] for n in "qkv"]).to(dtype)
        q, k, v = F.linear(h, weights).view(batch, time, 3, heads, size).permute(2, 0, 3, 1, 4).unbind(0)
        q, k = _rotated(q, cos, sin), _rotated(k, cos, sin)
        scores = (q @ k.transpose(-1, -2)).float() * size**-0.5 + mask
        mixed = torch.softmax(scores, -1).to(dtype) @ v
        mixed = mixed.transpose(1, 2).reshape(batch, time, -1)
        x = x + F.linear(mixed, p[at + "self_attn.o_proj.weight"].to(dtype))
        h = _normalized(x, p[at + "post_attention_layernorm.weight"])
        both = torch.cat([p[f"{at}mlp.{n}_proj.weight"] for n in ("gate", "up")]).to(dtype)
        gate, up = F.linear(h, both).chunk(2, -1)
        x = x + F.linear(F.silu(gate) * up, p[at + "mlp.down_proj.weight"].to(dtype))
        layer += 1
    return _normalized(x, p["model.norm.weight"])


def loss_sum(p: Parameters, heads: int, ids: Tensor, segments: Tensor, dtype: torch.dtype = HALF) -> Tensor:
    """Negative log-likelihood of all next tokens, summed, nats. Pad tokens cost nothing."""
    hidden = forward(p, heads, ids, segments, dtype)
    logits = F.linear(hidden, p["model.embed_tokens.weight"].to(dtype)).flatten(0, 1)
    wanted = targets(ids, segments).flatten()
    kept = wanted != IGNORED
    chosen = logits.gather(1, wanted.clamp(min=0)[:, None])[:, 0].float()
    return ((torch.logsumexp(logits.float(), -1) - chosen) * kept).sum()
