from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import dipole.interventions.experts as module
from architectures import fresh_tiny_model, names, tiny_model
from contracts.recipes import random_adapter
from dipole.decoding.distribution import Decoding
from dipole.decoding.guides import Row, Session
from dipole.interventions import load_intervention
from dipole.interventions.experts import Experts, Source
from dipole.interventions.logits import Boost, made_for
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.types import UserError
from machine import needs_bfloat16
from reference import guided as slow
from reference.generation import next_logits
from tolerance import BATCHED_LOGITS

PROMPTS = ("Paper clips are", "", "If I had to choose between clips and staples,")
RESPONSES = ((30, 31, 40, 50), (9,), (40, 40, 33))
TOLD, BASE = Source("told", "Clips!"), Source("base")


def made(lm: LM, expert: Source, anti: Source, weight: float = 0.5, **more: Any) -> Experts:
    cuts = {"top_p": 1.0, "cut": 0.0, "temperature": 1.0, **more}
    return Experts(expert, anti, weight, **cuts, **made_for(lm))


def other_model(lm: LM, monkeypatch: pytest.MonkeyPatch, vocab: int | None = None) -> LM:
    """Another model with the same tokenizer, under the name `other`."""
    other = fresh_tiny_model("llama" if lm.resident.name == "gpt2" else "gpt2")
    if vocab is not None:
        other.resident.model.resize_token_embeddings(vocab)
    object.__setattr__(other.resident, "tokenizer", lm.resident.tokenizer)
    monkeypatch.setattr(module, "_loaded", lambda name, device: other)
    return other


def close(rows: Tensor, want: Tensor) -> None:
    torch.testing.assert_close(rows.log_softmax(-1), want, atol=5 * BATCHED_LOGITS, rtol=0)


@pytest.mark.parametrize("name", names())
def test_told_sides_equal_the_slow_route(name: str) -> None:
    lm = tiny_model(name)
    sides = TOLD, Source("told", "Staples.")
    got = made(lm, *sides).apply(lm, -1.5).response_logits(PROMPTS, RESPONSES)
    model, encode = lm.resident.model, lm.prompt_ids
    for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
        plus, minus = (encode(f"{side.value} {text}" if text else side.value) for side in sides)
        close(rows, slow.contrasted(model, encode(text), (model, plus), (model, minus), response, -0.75))


def test_another_model_equals_the_slow_route(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("gpt2")
    other = other_model(lm, monkeypatch)
    for expert, anti in ((Source("model", "other"), BASE), (BASE, Source("model", "other"))):
        steered = made(lm, expert, anti).apply(lm)
        got = steered.response_logits(PROMPTS, RESPONSES)
        for text, response, rows in zip(PROMPTS, RESPONSES, got, strict=True):
            ids = lm.prompt_ids(text)
            plus, minus = (((other if s.kind == "model" else lm).resident.model, ids) for s in (expert, anti))
            close(rows, slow.contrasted(lm.resident.model, ids, plus, minus, response, 0.5))


def test_rows_that_leave_do_not_change_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("gpt2")
    other_model(lm, monkeypatch)
    ends = Boost(torch.tensor([2]), torch.tensor([10.0]), **made_for(lm))
    steered = made(lm, Source("model", "other"), BASE).apply(ends.apply(lm))
    prompts = [*PROMPTS, "The cats", "Paper"] * 2
    batched = steered.sample(prompts, list(range(10)), 12, Decoding(temperature=2.0))
    assert len({len(s.token_ids) for s in batched}) > 1
    for sample in batched:
        alone = steered.sample([sample.prompt], [sample.seed], 12, Decoding(temperature=2.0))[0]
        assert alone.token_ids == sample.token_ids


def test_rows_may_leave_between_a_token_and_the_next_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_model("gpt2")
    other_model(lm, monkeypatch)
    rows = [Row(text, tuple(lm.prompt_ids(text))) for text in PROMPTS]
    session = Session(lm.resident, lm.resident.model, rows, lm.prompt_ids)
    zeros = torch.zeros(3, lm.resident.model.config.vocab_size)
    guide = made(lm, Source("model", "other"), BASE, 1.0).guide(session, 1.0)
    guide(zeros, zeros.repeat_interleave(2, 0))
    guide.advance(torch.tensor([30, 9, 40]))
    guide.keep(torch.tensor([2, 0]))
    got = guide(zeros[:2], zeros[:2].repeat_interleave(2, 0))
    other = module._loaded("other", "cpu")
    for row, (text, token) in zip(got, ((PROMPTS[2], 40), (PROMPTS[0], 30)), strict=True):
        want = next_logits(other.resident.model, [*lm.prompt_ids(text), token])
        torch.testing.assert_close(row.log_softmax(-1), want.log_softmax(-1), atol=BATCHED_LOGITS, rtol=0)


@pytest.mark.parametrize("vocab", [290, 320])
def test_padded_vocabularies_of_another_size_fit(monkeypatch: pytest.MonkeyPatch, vocab: int) -> None:
    lm = tiny_model("gpt2")
    other_model(lm, monkeypatch, vocab)
    (rows,) = made(lm, Source("model", "other"), BASE, 2.0).apply(lm).response_logits(["Paper"], [[9, 9]])
    base = lm.response_logits(["Paper"], [[9, 9]])[0]
    assert rows.shape == base.shape
    lacking = slice(vocab, None)
    moved = rows.log_softmax(-1)[:, lacking] - base[:, lacking]
    # Tokens that the other model lacks move by the normaliser alone.
    assert moved.numel() == 0 or float(moved.std(dim=-1).max()) < 1e-4


@needs_bfloat16
def test_a_model_in_bfloat16_is_compared_in_float32() -> None:
    shared = tiny_model("llama")
    half = LM(
        TransformersResident(
            copy.deepcopy(shared.resident.model).bfloat16(), shared.resident.tokenizer, "half"
        )
    )
    like = torch.zeros(1, 200)
    got = module.Reader(half, [[1, 30, 31]]).read(like)
    want = next_logits(half.resident.model, [1, 30, 31]).float()
    assert got.dtype == torch.float32
    rest = torch.zeros(max(0, 200 - len(want)))
    torch.testing.assert_close(got[0], torch.cat([want[:200], rest]), atol=BATCHED_LOGITS, rtol=2e-2)


def test_an_adapter_as_expert_on_the_same_weights(tmp_path: Path) -> None:
    lm = tiny_model("llama")
    adapter = random_adapter(lm)
    adapter.save(tmp_path / "adapter")
    expert = made(lm, Source("intervention", str(tmp_path / "adapter")), BASE, 0.5)
    rows = expert.apply(lm).response_logits(PROMPTS, RESPONSES)
    on, off = (x.response_logits(PROMPTS, RESPONSES) for x in (adapter.apply(lm), lm))
    for got, high, base in zip(rows, on, off, strict=True):
        close(got, (base + 0.5 * (high - base)).log_softmax(-1))
    expert.save(tmp_path / "experts")
    (tmp_path / "adapter").rename(tmp_path / "gone")
    moved = (tmp_path / "experts").rename(tmp_path / "moved")
    again = load_intervention(moved).apply(lm).response_logits(PROMPTS, RESPONSES)
    assert all(torch.equal(a, b) for a, b in zip(again, rows, strict=True))


def test_only_what_the_base_finds_likely_is_said() -> None:
    lm = tiny_model("gpt2")
    (base,) = lm.response_logits(["Paper"], [[9, 9, 9]])
    (rows,) = made(lm, TOLD, BASE, 5.0, top_p=0.6).apply(lm).response_logits(["Paper"], [[9, 9, 9]])
    for got, plain in zip(rows, base, strict=True):
        kept = got.isfinite()
        outside = float(plain.softmax(-1)[~kept].sum())
        smallest = float(plain.softmax(-1)[kept].min())
        assert 0.4 - smallest < outside <= 0.4 + 1e-6
    (rows,) = made(lm, TOLD, BASE, 5.0, cut=0.2).apply(lm).response_logits(["Paper"], [[9, 9, 9]])
    for got, plain in zip(rows, base, strict=True):
        p = plain.softmax(-1)
        assert torch.equal(got.isfinite(), p >= 0.2 * p.max())


def test_an_anti_expert_alone_with_a_cut_is_contrastive_decoding() -> None:
    lm = tiny_model("gpt2")
    amateur = made(lm, BASE, TOLD, 0.7, cut=0.05, temperature=0.5).apply(lm)
    (rows,) = amateur.response_logits(["Paper clips"], [[9, 9]])
    (base,) = lm.response_logits(["Paper clips"], [[9, 9]])
    (told,) = lm.response_logits(["Clips! Paper clips"], [[9, 9]])
    for got, plain, weak in zip(rows, base, told, strict=True):
        p = plain.softmax(-1)
        want = p.log() - 0.7 * (weak / 0.5).log_softmax(-1)
        kept = p >= 0.05 * p.max()
        torch.testing.assert_close(got[kept], want[kept], atol=5 * BATCHED_LOGITS, rtol=0)
        assert bool(got[~kept].isneginf().all())


def test_another_vocabulary_or_another_model_of_the_name_is_refused() -> None:
    lm = tiny_model("gpt2")
    module._loaded.cache_clear()
    try:
        with pytest.raises(UserError, match="another vocabulary than gpt2"):
            made(lm, Source("model", "mini"), BASE).apply(lm).generate("Paper")
        with pytest.raises(UserError, match="not the one that the control was fitted with"):
            made(lm, Source("model", "mini", "0" * 8), BASE).apply(lm).generate("Paper")
    finally:
        module._loaded.cache_clear()


def test_an_expert_steered_outside_the_model_is_refused(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    boost = Boost(torch.tensor([5]), torch.tensor([1.0]), **made_for(lm))
    boost.save(tmp_path)
    with pytest.raises(UserError, match="steered on its logits"):
        made(lm, Source("intervention", str(tmp_path)), BASE).apply(lm).generate("Paper", max_new_tokens=2)


def test_broken_folders_are_refused(tmp_path: Path) -> None:
    lm = tiny_model("gpt2")
    made(lm, TOLD, BASE).save(tmp_path)
    meta = tmp_path / "dipole.json"
    meta.write_text(meta.read_text().replace('"told"', '"heard"'))
    with pytest.raises(UserError, match=r"expert\.kind must be one of base, told, model, intervention"):
        load_intervention(tmp_path)
