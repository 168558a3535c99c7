"""Pooled activations of documents against one document at a time, unpadded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from architectures import CONTEXT, names, tiny_model
from dipole.batching import by_tokens
from dipole.engaging.blocks import decoder_blocks
from dipole.lm import LM
from dipole.recognizers import pooled
from dipole.recognizers.pooled import read_features
from dipole.types import UserError
from reference import fudge as slow
from tolerance import BATCHED_LOGITS

TEXTS = (
    "Paper clips are the best.",
    "Staples",
    "a",
    "If I had to choose between clips and staples,",
    "The cats",
)
LONG = "the dog and " * CONTEXT


def alone(lm: LM, text: str, layer: int) -> Tensor:
    """States `(tokens, width)` of one text, cut to the context, without its first token."""
    block = decoder_blocks(lm.resident.model)[layer]
    ids = lm.resident.encode(text)[: lm.resident.context_length]
    read = torch.tensor(slow.states(lm.resident.model, block, ids))
    return read[1:] if len(read) > 1 else read


@pytest.mark.parametrize("name", names())
def test_they_are_means_over_all_tokens_but_the_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model(name)
    monkeypatch.setattr(pooled, "_WINDOW", 3)  # so that batches end where documents differ in length
    layers = [len(decoder_blocks(lm.resident.model)) - 1, 0]
    bounded = lm.resident.context_length is not None
    texts = [*TEXTS, LONG] if bounded else TEXTS
    seen: list[int] = []
    got = read_features(lm, iter(texts), layers, seen.append)
    assert got.layers == tuple(layers)
    assert got.cut == int(bounded)
    assert seen == ([3, 6] if bounded else [3, 5])
    for k, layer in enumerate(layers):
        read = [alone(lm, text, layer) for text in texts]
        means = torch.stack([states.mean(0) for states in read])
        torch.testing.assert_close(got.at(layer), means, atol=10 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)
        norms = sorted(float(states.norm(dim=1).mean()) for states in read)
        assert got.norms[k] == pytest.approx(norms[(len(norms) - 1) // 2], rel=BATCHED_LOGITS)


def test_what_a_document_is_read_with_does_not_matter() -> None:
    lm = tiny_model("gemma2")
    together = read_features(lm, TEXTS, [1]).values
    apart = torch.cat([read_features(lm, [text], [1]).values for text in TEXTS])
    torch.testing.assert_close(together, apart, atol=10 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)


def test_interventions_inside_the_model_are_engaged() -> None:
    from contracts.recipes import INTERVENTIONS

    lm = tiny_model("llama")
    moved = read_features(INTERVENTIONS["vector"]("llama").apply(lm), TEXTS, [0]).values
    vector = INTERVENTIONS["vector"]("llama").vectors[0]  # type: ignore[attr-defined]
    want = read_features(lm, TEXTS, [0]).values + vector
    torch.testing.assert_close(moved, want, atol=10 * BATCHED_LOGITS, rtol=BATCHED_LOGITS)


def test_refusals() -> None:
    lm = tiny_model("gpt2")
    with pytest.raises(UserError, match="There is no document to read"):
        read_features(lm, [], [0])
    with pytest.raises(UserError, match="layer 9 was asked for"):
        read_features(lm, TEXTS, [9])


@pytest.mark.parametrize("budget", [1, 7, 20, 1000])
def test_batches_hold_every_row_once_and_keep_to_their_budget(budget: int) -> None:
    lengths = [3, 9, 1, 4, 4, 12, 2, 9, 1]
    parts = list(by_tokens(lengths, budget))
    assert sorted(i for part in parts for i in part) == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or len(part) * max(lengths[i] for i in part) <= budget
    assert [lengths[i] for part in parts for i in part] == sorted(lengths)
    assert list(by_tokens([], budget)) == []
    if budget == 1000:
        assert len(parts) == 1
