"""A tokenizer for random weights: one id a byte, and names for all others that the model has."""

from __future__ import annotations

from typing import Any


def byte_tokenizer(size: int, **special: str) -> Any:
    """A byte-level tokenizer without merges.

    Args:
        size: Tokens of the vocabulary; those beyond the bytes stand for nothing that is written.
        special: Special tokens, such as `eos_token="<50256>"`: the name of a token is its id in brackets.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(f"<{i}>" for i in range(len(letters), size))]
    backend = Tokenizer(models.BPE(vocab={name: i for i, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, **special)
