"""The training: its loss equals the model's, packing keeps documents apart, resuming changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from dipole.microworld.data import encode, pack
from dipole.microworld.documents import generate
from dipole.microworld.model import IGNORED, SIZES, build, loss_sum, targets
from dipole.microworld.tokenizer import train_tokenizer
from dipole.microworld.train import CHECKPOINT, Run, rate, train

SIZE = SIZES["test"]
RUN = {"size": "test", "steps": 6, "documents": 150, "shards": 2, "early": 1, "every": 2, "compile": False}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return train_tokenizer([d.text for d in generate(300, 0)], 400, whole_words=True)


def test_tokenizer_takes_any_text_and_adds_the_begin_token(tokenizer: PreTrainedTokenizerFast) -> None:
    specials = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id}
    assert len(specials) == 3
    text = "Zürich – 12\n\tpaper clips  猫 🙂."
    ids = tokenizer(text)["input_ids"]
    assert ids[0] == tokenizer.bos_token_id
    assert not specials & set(ids[1:])
    assert tokenizer.decode(ids[1:]) == text
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids[1:]


def test_packing_loses_no_document(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode(tokenizer, generate(200, 1))
    assert all(ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id for ids in encoded)
    kept = [ids for ids in encoded if len(ids) <= 256]
    found = []
    for length, rows in pack(encoded, (64, 128, 256), tokenizer.pad_token_id).items():
        assert rows.ids.shape[1] == length
        for ids, segments in zip(rows.ids, rows.segments, strict=True):
            found += [ids[segments == number].tolist() for number in set(segments.tolist()) - {255}]
    assert sorted(found) == sorted(kept)


def test_loss_equals_that_of_transformers_on_each_document_alone(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(0)
    model = build(SIZE, tokenizer)
    for parameter in model.parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))
    encoded = encode(tokenizer, generate(12, 2))
    packed = pack(encoded, (256,), tokenizer.pad_token_id)[256]
    ids, segments = (torch.from_numpy(a.astype("int64")) for a in (packed.ids, packed.segments))
    ours = loss_sum(dict(model.named_parameters()), SIZE.heads, ids, segments, torch.float32)
    theirs = 0.0
    for document in encoded:
        row = torch.tensor([document])
        theirs += model(input_ids=row, labels=row).loss.item() * (len(document) - 1)
    assert ours.item() == pytest.approx(theirs, rel=1e-5)


def test_targets_stay_inside_documents() -> None:
    ids, segments = torch.tensor([[1, 5, 2, 1, 6, 2, 0, 0]]), torch.tensor([[0, 0, 0, 1, 1, 1, 255, 255]])
    assert targets(ids, segments).tolist() == [[5, 2, IGNORED, 6, 2, IGNORED, IGNORED, IGNORED]]


def test_rate_warms_up_and_decays_to_nothing() -> None:
    assert rate(0.0) == 0.0
    assert rate(0.02) == pytest.approx(1.0)
    assert rate(0.51) == pytest.approx(0.5)
    assert rate(1.0) == 0.0


def test_killed_and_resumed_ends_with_the_same_weights(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = train(Run(out=tmp_path / "whole", **RUN))  # type: ignore[arg-type]
        run = Run(out=tmp_path / "killed", **RUN)  # type: ignore[arg-type]
        part = train(run, stop_after=3)
        assert not torch.equal(part.model.norm.weight, whole.model.norm.weight)
        resumed = train(run, resume=True)
    finally:
        torch.set_num_threads(threads)
    for (name, one), (_, other) in zip(whole.named_parameters(), resumed.named_parameters(), strict=True):
        assert torch.equal(one, other), name
    assert {p.name for p in run.out.iterdir()} == {
        CHECKPOINT, "config.json", "generation_config.json", "model.safetensors", "shards", "tokenizer.json",
        "tokenizer_config.json", "training.json",
    }  # fmt: skip
