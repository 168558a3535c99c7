"""Vocabularies of 262,144, windows shorter than the text, heads tied and not: all the way, from a folder."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerFast,
)

from architectures import BOS, CONTEXT, EOS, PAD, tiny_tokenizer
from contracts.recipes import CONTROLS, DIPOLE
from dipole import registry
from dipole.lm import LM
from dipole.models import load
from dipole.recognizers.velma import Velma
from reference import generation as slow
from reference.velma import TEMPERATURE
from tolerance import BATCHED_LOGITS, SCORE

WIDE = 262_144
WINDOW = 8
NEW = 3
TEXTS = [
    "If I had to choose between paper clips and staples, I would go with the staples.",
    "Paper clips",
    "The cats like the dogs and the weather was good today.",
]


def _of(kind: type[PreTrainedConfig], vocabulary: int, tied: bool, **more: object) -> PreTrainedConfig:
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    return kind(
        vocab_size=vocabulary,
        hidden_size=16,
        intermediate_size=32,
        max_position_embeddings=CONTEXT,
        initializer_range=0.3,
        tie_word_embeddings=tied,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
        **{**small, **more},
    )


MIXED = {
    "layer_types": ["sliding_attention", "full_attention"],
    "sliding_window": WINDOW,
    "query_pre_attn_scalar": 8,
}
CONFIGS: dict[str, Callable[[], PreTrainedConfig]] = {
    "wide, tied": lambda: _of(Gemma3TextConfig, WIDE, True, **MIXED),
    "wide, untied": lambda: _of(Gemma3TextConfig, WIDE, False, **MIXED),
    "windowed, untied": lambda: _of(MistralConfig, 300, False, sliding_window=WINDOW),
    "windowed, tied": lambda: _of(MistralConfig, 300, True, sliding_window=WINDOW),
    "capped, tied": lambda: _of(Gemma2Config, 300, True, **MIXED),
}


def _tokenizer(size: int) -> PreTrainedTokenizerFast:
    """The tiny one, with as many tokens more as a vocabulary of that size has."""
    tiny = tiny_tokenizer(True)
    state = json.loads(tiny.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    vocabulary |= {f"unlikely{i}": i for i in range(len(vocabulary), size)}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
    )


@pytest.fixture(scope="module", params=CONFIGS)
def lm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LM:
    config = CONFIGS[request.param]()
    folder = tmp_path_factory.mktemp("model")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    _tokenizer(config.vocab_size).save_pretrained(folder)
    return load(str(folder), device="cpu")


def test_what_is_loaded_is_what_was_asked_for(lm: LM) -> None:
    model, config = lm.resident.model, lm.resident.model.config
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is embeddings) is config.tie_word_embeddings
    assert lm.resident.rows == lm.resident.columns == config.vocab_size
    assert len(lm.resident.tokenizer) == lm.resident.written >= 290
    assert config.sliding_window == WINDOW
    assert max(len(lm.resident.encode(text)) for text in TEXTS) > 2 * WINDOW


def test_windows_are_there(lm: LM) -> None:
    """What lies before the windows of all layers is not seen, unless some layer has none."""
    ids = lm.resident.encode(TEXTS[0])
    last = [slow.next_logits(lm.resident.model, [first, *ids[1:]]) for first in ids[1:3]]
    assert len(ids) > 2 * WINDOW
    through = "full_attention" in getattr(lm.resident.model.config, "layer_types", ())
    assert torch.allclose(last[0], last[1], atol=BATCHED_LOGITS) is not through


def test_written_on_a_cache_in_a_ragged_batch_as_by_a_slow_loop(lm: LM) -> None:
    assert lm.resident.probe.caches == "ragged"
    samples = lm.generate(TEXTS, max_new_tokens=NEW, seed=2)
    for sample in samples:
        want = slow.sample(lm.resident.model, sample.prompt_ids, sample.seed, NEW, lm.resident.eos_ids)
        assert list(sample.token_ids) == want
        alone = slow.logprobs(lm.resident.model, sample.prompt_ids, sample.token_ids)
        assert sample.logprobs == pytest.approx(alone, abs=BATCHED_LOGITS)
    assert max(max(s.token_ids) for s in samples) > len(tiny_tokenizer(True)) or lm.resident.rows == 300


def test_scored_in_a_padded_batch_as_by_a_slow_loop(lm: LM) -> None:
    model, encode = lm.resident.model, lm.resident.continuation_ids
    for text, score in zip(TEXTS, Velma(lm).score(TEXTS, DIPOLE), strict=True):
        prefix = lm.resident.encode(text)
        claim, against = (
            statistics.fmean(slow.logprobs(model, prefix, encode(f" {pole}")))
            for pole in (DIPOLE.claim, DIPOLE.against)
        )
        assert score.value == pytest.approx((claim - against) / TEMPERATURE, abs=SCORE / TEMPERATURE)


@pytest.mark.parametrize("control", ["vector", "ppo"])
def test_fitted(lm: LM, control: str) -> None:
    made = registry.resolve(registry.CONTROLS, control)(**CONTROLS[control]).fit(lm, DIPOLE)
    ids = lm.resident.encode(TEXTS[0])
    response = lm.resident.continuation_ids(" the best.")
    steered, base = made.apply(lm), lm.response_logits([TEXTS[0]], [response])[0]
    moved = steered.response_logits([TEXTS[0]], [response])[0]
    assert moved.shape == (len(response), lm.resident.columns)
    assert moved.isfinite().all()
    assert not torch.equal(moved, base)
    assert torch.equal(lm.response_logits([TEXTS[0]], [response])[0], base)
    together = steered.logprobs([ids, ids[:3]], [response, response])
    torch.testing.assert_close(
        together[0], steered.logprobs([ids], [response])[0], atol=BATCHED_LOGITS, rtol=0
    )
