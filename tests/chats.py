"""Tiny models that read chats, for tests."""

from __future__ import annotations

import copy
import functools
from typing import Any

from architectures import tiny_model, tiny_tokenizer
from dipole.lm import LM
from dipole.models.resident import TransformersResident

TURNS = "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}</s>{% endfor %}<s>assistant:"


@functools.cache
def roomy_model() -> Any:
    """The tiny Llama, with room for what templates write; nothing may change its weights."""
    model = copy.deepcopy(tiny_model("llama").resident.model)
    model.config.max_position_embeddings = 1024  # its positions are rotations, so nothing ends at 64
    return model


def chat_lm(template: Any, special_tokens_in_text: bool = False, plain: bool = False) -> LM:
    """A tiny Llama with a chat template."""
    base = tiny_tokenizer(True)
    tokenizer = base.__class__(
        tokenizer_object=base.backend_tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    tokenizer.chat_template = template
    return LM(TransformersResident(roomy_model(), tokenizer, "chat", None, special_tokens_in_text, plain))
