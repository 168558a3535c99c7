"""Tiny models that read chats, for tests."""

from __future__ import annotations

import copy
import functools
from typing import Any, NamedTuple

import torch
from tokenizers import Tokenizer
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from architectures import ARCHITECTURES, tiny_model, tiny_tokenizer
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


class Family(NamedTuple):
    """A chat template in the manner of a family of models.

    Attributes:
        template: Written for these tests after the structure of the published one.
        control: Its control tokens beside `<s>` and `</s>`.
        end: The token that ends a turn.
        plain: Those of `control` that its tokenizer does not call special.
    """

    template: str
    control: tuple[str, ...]
    end: str
    plain: tuple[str, ...] = ()


_LLAMA = (
    "{{ bos_token }}{% set told = '' %}{% if messages[0].role == 'system' %}"
    "{% set told = messages[0].content | trim %}{% set messages = messages[1:] %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + strftime_now('%d %b %Y') + '\n\n' }}"
    "{{ told + '<|eot_id|>' }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_CHATML = (
    "{% if messages[0].role != 'system' %}{{ '<|im_start|>system\nYou are helpful.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_THINKS = (
    "{% for m in messages %}{% set said = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set said = said.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ '<|im_start|>' + m.role + '\n' + said + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
    "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}"
    "{% endif %}{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% set told = '' %}{% if messages[0].role == 'system' %}"
    "{% set told = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + (told if loop.last else '') + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content | trim + eos_token }}{% endif %}{% endfor %}"
)
_PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_TOOLS = (
    "{{ '<|im_start|>system\n' }}"
    "{{ messages[0].content if messages[0].role == 'system' else 'You are helpful.' }}"
    "{% if tools %}{{ '\n\n<tools>' }}{% for t in tools %}{{ t | tojson }}{% endfor %}"
    "{{ '</tools>' }}{% endif %}"
    "{{ '<|im_end|>\n' }}{% for m in messages if m.role != 'system' %}{{ '<|im_start|>' + m.role + '\n' }}"
    "{% if m.tool_calls %}{% for c in m.tool_calls %}{{ '<tool_call>' + c | tojson + '</tool_call>' }}"
    "{% endfor %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_IM = ("<|im_start|>", "<|im_end|>")
_THINK, _CALL = ("<think>", "</think>"), ("<tool_call>", "</tool_call>")
FAMILIES = {
    "llama3": Family(_LLAMA, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
    "chatml": Family(_CHATML, _IM, "<|im_end|>"),
    "thinks": Family(_THINKS, (*_IM, *_THINK), "<|im_end|>", _THINK),
    "forgets": Family(_CHATML, (*_IM, *_THINK), "<|im_end|>", _THINK),  # a template that does not name them
    "gemma": Family(_GEMMA, ("<start_of_turn>", "<end_of_turn>"), "<end_of_turn>"),
    "mistral": Family(_MISTRAL, ("[INST]", "[/INST]"), "</s>"),
    "phi": Family(_PHI, ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"), "<|end|>"),
    "tools": Family(_TOOLS, (*_IM, *_CALL), "<|im_end|>", _CALL),
}


@functools.cache
def family_lm(name: str, plain: bool = False) -> LM:
    """A tiny random model with the tokenizer and the template of a family."""
    family = FAMILIES[name]
    backend = Tokenizer.from_str(tiny_tokenizer(False).backend_tokenizer.to_str())
    backend.add_special_tokens([t for t in family.control if t not in family.plain])
    backend.add_tokens(list(family.plain))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.chat_template = family.template
    config = ARCHITECTURES["llama"]()
    config.vocab_size, config.max_position_embeddings = len(tokenizer), 1024
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval().requires_grad_(False)
    return LM(TransformersResident(model, tokenizer, name, plain=plain))
