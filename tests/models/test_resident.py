"""Tokens in and out of a resident model."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from architectures import BOS, EOS, fresh_tiny_model, tiny_model, tiny_tokenizer
from dipole.batching import chunks, even, pad_batch, parts
from dipole.models.resident import TransformersResident
from dipole.types import UserError


def test_an_empty_text_starts_from_the_start_token() -> None:
    assert tiny_model("gpt2").resident.encode("") == [BOS]
    assert tiny_model("llama").resident.encode("") == [BOS]


def test_an_empty_text_needs_a_token_to_start_from() -> None:
    bare = PreTrainedTokenizerFast(tokenizer_object=tiny_tokenizer(False).backend_tokenizer)
    model = fresh_tiny_model("gpt2").resident.model
    assert TransformersResident(model, bare, "bare").encode("") == [EOS]  # which the generation config names
    model.generation_config.eos_token_id = None
    assert TransformersResident(model, bare, "bare").pad_id == 0
    with pytest.raises(UserError, match="neither a start nor an end-of-text token"):
        TransformersResident(model, bare, "bare").encode("")


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


def test_batches_without_padding() -> None:
    lengths = [2, 3, 2, 1, 2]
    assert list(parts(lengths, 2, ragged=True)) == [[0, 1], [2, 3], [4]]
    assert list(parts(lengths, 2, ragged=False)) == [[0, 2], [4], [1], [3]]
    for side in ("left", "right"):
        batch = pad_batch([[5, 6], [7, 8, 9], [3, 4]], 0, side)  # type: ignore[arg-type]
        found = {tuple(index.tolist()): some for index, some in even(batch)}
        assert set(found) == {(0, 2), (1,)}
        assert found[0, 2].input_ids.tolist() == [[5, 6], [3, 4]]
        assert found[0, 2].position_ids.tolist() == [[0, 1]] * 2
        assert found[1,].input_ids.tolist() == [[7, 8, 9]]
        assert all(bool(some.attention_mask.all()) for some in found.values())


def test_reading_by_length_puts_rows_where_they_were() -> None:
    resident = tiny_model("gpt2").resident
    batch = pad_batch([[5, 6], [7, 8, 9, 2], [3, 4], [1]], 0, "left")
    found = resident.by_length(batch, lambda some: some.input_ids[..., None].float(), 3)
    assert found[..., 0].tolist() == [[0, 5, 6], [8, 9, 2], [0, 3, 4], [0, 0, 1]]
    assert torch.equal(
        resident.by_length(batch, lambda some: some.input_ids, 1), torch.tensor([[6], [2], [4], [1]])
    )
