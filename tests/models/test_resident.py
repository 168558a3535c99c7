"""Tokens in and out of a resident model."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from architectures import BOS, EOS, fresh_tiny_model, tiny_model, tiny_tokenizer
from dipole.models.batching import chunks, pad_batch
from dipole.models.resident import Resident
from dipole.types import UserError


def test_an_empty_text_starts_from_the_start_token() -> None:
    assert tiny_model("gpt2").resident.encode("") == [BOS]
    assert tiny_model("llama").resident.encode("") == [BOS]


def test_an_empty_text_needs_a_token_to_start_from() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(False).backend_tokenizer)
    model = fresh_tiny_model("gpt2").resident.model
    assert Resident(model, bare, "bare").encode("") == [EOS]  # which the generation config names
    model.generation_config.eos_token_id = None
    assert Resident(model, bare, "bare").pad_id == 0
    with pytest.raises(UserError, match="neither a start nor an end-of-text token"):
        Resident(model, bare, "bare").encode("")


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("text", [" the best.", "the best.", "\n\nx", "é", "日本", "  two"])
def test_continuations_join_without_merging(name: str, text: str) -> None:
    resident = tiny_model(name).resident
    prefix, ids = resident.encode("Paper clips are"), resident.continuation_ids(text)
    assert BOS not in ids
    assert resident.decode(prefix, ids) == text


def test_padding_and_positions() -> None:
    left = pad_batch([[5, 6], [7]], 9, "left", length=3)
    assert left.input_ids.tolist() == [[9, 5, 6], [9, 9, 7]]
    assert left.attention_mask.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert left.position_ids.tolist() == [[0, 0, 1], [0, 0, 0]]
    right = pad_batch([[5, 6], [7]], 9, "right")
    assert right.input_ids.tolist() == [[5, 6], [7, 9]]
    assert right.attention_mask.tolist() == [[1, 1], [1, 0]]
    assert [list(range(7))[part] for part in chunks(7, 3)] == [[0, 1, 2], [3, 4, 5], [6]]
