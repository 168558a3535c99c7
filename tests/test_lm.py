"""`LM.generate`, `logprobs` and `activations` against slow references, over every architecture."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from architectures import EOS, fresh_tiny_model, names, tiny_model, with_real
from dipole.batching import pad_batch
from dipole.decoding.distribution import Decoding
from dipole.lm import LM
from dipole.models.resident import TransformersResident
from dipole.types import UserError, sample_seed
from reference import generation as slow
from tolerance import BATCHED_LOGITS, SCORE, deep

PROMPTS = ["Paper clips are", "", "If I had to choose between paper clips and staples,", "The cats"]
every = pytest.mark.parametrize("name", with_real(names()))


@every
def test_samples_are_those_of_a_slow_loop_in_any_batch(name: str) -> None:
    lm = tiny_model(name)
    samples = lm.generate(PROMPTS, n=2, max_new_tokens=6, seed=3)
    other = lm.generate(PROMPTS, n=2, max_new_tokens=6, seed=3, batch_size=3)
    assert [s.token_ids for s in samples] == [s.token_ids for s in other]
    for index, sample in enumerate(samples):
        assert sample.prompt == PROMPTS[index // 2]
        assert sample.seed == sample_seed(3, index // 2, index % 2)
        if index % 2:
            want = slow.sample(lm.resident.model, sample.prompt_ids, sample.seed, 6, lm.resident.eos_ids)
            assert list(sample.token_ids) == want


@every
def test_recorded_logprobs_are_those_of_a_fresh_pass(name: str) -> None:
    lm = tiny_model(name)
    samples = lm.generate(PROMPTS, max_new_tokens=6, seed=1)
    fresh = lm.logprobs([s.prompt_ids for s in samples], [s.token_ids for s in samples])
    for sample, logprobs in zip(samples, fresh, strict=True):
        torch.testing.assert_close(
            torch.tensor(sample.logprobs), logprobs, atol=deep(BATCHED_LOGITS, name), rtol=0
        )


@every
def test_logprobs_equal_one_token_at_a_time(name: str) -> None:
    lm = tiny_model(name)
    prefixes = [lm.resident.encode(text) for text in PROMPTS]
    continuations = [
        lm.resident.continuation_ids(text) for text in (" the best.", "", " staples", " like the dogs.")
    ]
    together = lm.logprobs(prefixes, continuations)
    alone = [lm.logprobs([p], [c])[0] for p, c in zip(prefixes, continuations, strict=True)]
    for prefix, continuation, batched, single in zip(prefixes, continuations, together, alone, strict=True):
        want = torch.tensor(slow.logprobs(lm.resident.model, prefix, continuation))
        assert batched.shape == (len(continuation),)
        torch.testing.assert_close(batched, want, atol=deep(BATCHED_LOGITS, name), rtol=0)
        torch.testing.assert_close(single, want, atol=deep(SCORE, name), rtol=deep(SCORE, name))


@every
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(name: str, side: Any) -> None:
    resident = tiny_model(name).resident
    rows = [resident.encode(text) for text in PROMPTS]
    for length in (None, 30):
        batch = pad_batch(rows, 5, side, length=length)  # any id may fill the padding
        with torch.no_grad():
            logits = resident.model(**resident.inputs(batch), use_cache=False).logits
        for row, ids in enumerate(rows):
            last = logits[row, -1] if side == "left" else logits[row, len(ids) - 1]
            torch.testing.assert_close(
                last, slow.next_logits(resident.model, ids), atol=deep(BATCHED_LOGITS, name), rtol=0
            )


@every
def test_activations_equal_output_hidden_states(name: str) -> None:
    lm = tiny_model(name)
    count = lm.resident.model.config.num_hidden_layers
    found = lm.activations(PROMPTS, range(count))
    for text, activations in zip(PROMPTS, found, strict=True):
        ids = torch.tensor([lm.resident.encode(text)])
        with torch.no_grad():
            states = lm.resident.model(input_ids=ids, output_hidden_states=True).hidden_states
        assert activations.shape == (count, ids.shape[1], lm.resident.width)
        # The last entry stands behind the final norm (recipes 0.1), so it is compared by another test.
        want = torch.stack([state[0] for state in states[1:-1]])
        # Some are 17,000 in the real model.
        torch.testing.assert_close(activations[:-1], want, atol=deep(BATCHED_LOGITS, name), rtol=SCORE)


@pytest.mark.parametrize(("name", "norm"), [("gpt2", "transformer.ln_f"), ("llama", "model.norm")])
def test_the_last_activation_is_what_the_final_norm_reads(name: str, norm: str) -> None:
    lm = tiny_model(name)
    [activations] = lm.activations(PROMPTS[:1], [-1])
    logits = lm.resident.model.get_output_embeddings()(lm.resident.model.get_submodule(norm)(activations[0]))
    want = slow.next_logits(lm.resident.model, lm.resident.encode(PROMPTS[0]))
    torch.testing.assert_close(logits[-1], want, atol=BATCHED_LOGITS, rtol=0)


def test_activations_refuse_absent_layers() -> None:
    for layers in ([3], [-4], []):
        with pytest.raises(UserError, match="has 3 layers"):
            tiny_model("gpt2").activations(["a"], layers)


@pytest.mark.parametrize(
    "decoding", [Decoding(temperature=0), Decoding(top_k=4), Decoding(temperature=1.5, top_k=40, top_p=0.7)]
)
def test_decoding_equals_the_slow_loop(decoding: Decoding) -> None:
    lm = tiny_model("llama")
    for sample in lm.generate(PROMPTS, max_new_tokens=8, decoding=decoding):
        args = dataclasses.astuple(decoding)
        want = slow.sample(lm.resident.model, sample.prompt_ids, sample.seed, 8, lm.resident.eos_ids, *args)
        assert list(sample.token_ids) == want


def test_the_first_token_follows_the_softmax() -> None:
    lm = tiny_model("gpt2")
    n = 1500
    samples = lm.generate("Paper clips are", n=n, max_new_tokens=1, batch_size=500)
    expected = slow.next_logits(lm.resident.model, samples[0].prompt_ids).double().softmax(-1) * n
    counts = torch.tensor([s.token_ids[0] for s in samples]).bincount(minlength=len(expected)).double()
    common = expected >= 5
    both = [torch.cat([x[common], x[~common].sum()[None]]) for x in (counts, expected)]
    chi_square = float(((both[0] - both[1]) ** 2 / both[1]).sum())
    freedom = int(common.sum())
    assert chi_square < freedom + 4 * (2 * freedom) ** 0.5


def _likes_to_end(*eos: int, bias: float = 4.0, **resident: Any) -> LM:
    """A model that draws some end token after a few others, and often at once."""
    lm = fresh_tiny_model("gpt_neox")
    head = lm.resident.model.get_output_embeddings()
    head.bias = torch.nn.Parameter(torch.zeros(head.weight.shape[0]), requires_grad=False)
    head.bias[list(eos)] = bias
    return LM(TransformersResident(lm.resident.model, lm.resident.tokenizer, "ending"))


def test_end_of_text() -> None:
    lm = _likes_to_end(EOS)
    samples = lm.generate("The cats", n=24, max_new_tokens=6)
    reasons = {s.finish_reason for s in samples}
    lengths = {len(s.token_ids) for s in samples if s.finish_reason == "eos"}
    assert reasons == {"eos", "length"}
    assert 1 in lengths
    assert len(lengths) > 2
    for sample in samples:
        assert len(sample.logprobs) == len(sample.token_ids)
        assert EOS not in sample.token_ids[:-1]
        assert (sample.token_ids[-1] == EOS) == (sample.finish_reason == "eos")
        assert "</s>" not in sample.text
        assert sample.finish_reason == "eos" or len(sample.token_ids) == 6
        assert len(sample.token_ids) > 1 or sample.finish_reason == "length" or sample.text == ""
    want = [slow.sample(lm.resident.model, s.prompt_ids, s.seed, 6, frozenset({EOS})) for s in samples]
    assert [list(s.token_ids) for s in samples] == want


def test_several_end_tokens_and_padding_with_one_of_them() -> None:
    lm = _likes_to_end(EOS, 7, 9, bias=3.0)
    plain = _likes_to_end(EOS, 7, 9, bias=3.0)
    lm.resident.model.generation_config.eos_token_id = [7, 9]
    assert lm.resident.eos_ids == {EOS, 7, 9}
    object.__setattr__(lm.resident, "pad_id", 7)
    samples = lm.generate(["The cats", ""], n=12, max_new_tokens=4)
    ends = {s.token_ids[-1] for s in samples if s.finish_reason == "eos"}
    assert ends == {EOS, 7, 9}
    for sample in samples:
        want = slow.sample(plain.resident.model, sample.prompt_ids, sample.seed, 4, lm.resident.eos_ids)
        assert list(sample.token_ids) == want


def test_without_an_end_token_the_budget_ends_the_text() -> None:
    lm = fresh_tiny_model("bloom")
    object.__setattr__(lm.resident, "eos_ids", frozenset())
    samples = lm.generate("The cats", n=4, max_new_tokens=5)
    assert [(len(s.token_ids), s.finish_reason) for s in samples] == [(5, "length")] * 4


def test_the_models_own_generation_config_does_not_leak() -> None:
    lm, plain = fresh_tiny_model("llama"), tiny_model("llama")
    own = GenerationConfig(
        do_sample=True,
        temperature=0.1,
        top_k=1,
        repetition_penalty=9.0,
        no_repeat_ngram_size=1,
        suppress_tokens=list(range(10, 200)),
        min_new_tokens=6,
        forced_eos_token_id=EOS,
        max_length=9,
        num_beams=3,
        bad_words_ids=[[205]],
        sequence_bias=[[[210], 50.0]],
        eos_token_id=EOS,
        pad_token_id=0,
    )
    lm.resident.model.generation_config = own
    before = own.to_dict()
    assert lm.generate(PROMPTS, n=3, max_new_tokens=8) == plain.generate(PROMPTS, n=3, max_new_tokens=8)
    assert lm.resident.model.generation_config is own
    assert own.to_dict() == before


def test_generate_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    lm = fresh_tiny_model("opt")
    lm.resident.tokenizer.model_max_length = 4
    lm.generate(PROMPTS, max_new_tokens=3)
    assert capfd.readouterr() == ("", "")


def test_tokens_beyond_the_tokenizer_are_kept_and_have_no_text() -> None:
    lm = fresh_tiny_model("llama")
    size = len(lm.resident.tokenizer)
    with torch.random.fork_rng():
        lm.resident.model.resize_token_embeddings(size + 20, mean_resizing=False)
    lm.resident.model.get_output_embeddings().weight[size:] *= 40
    samples = lm.generate(PROMPTS, n=4, max_new_tokens=6)
    assert any(token >= size for s in samples for token in s.token_ids)
    assert all(isinstance(s.text, str) for s in samples)


@pytest.mark.parametrize("name", ["gpt2", "llama", "opt", "falcon"])
def test_the_context_is_a_bound(name: str) -> None:
    lm = tiny_model(name)
    prompt = "staples " * 60
    used = len(lm.resident.encode(prompt))
    while used > 60:
        prompt = prompt[:-8]
        used = len(lm.resident.encode(prompt))
    [sample] = lm.generate(prompt, max_new_tokens=64 - used)
    assert sample.prompt_ids == tuple(lm.resident.encode(prompt))
    with pytest.raises(UserError, match=r"context of .* \(64 tokens\)"):
        lm.generate(prompt, max_new_tokens=65 - used)
    ids = lm.resident.encode(prompt)
    with pytest.raises(UserError, match="context"):
        lm.logprobs([ids], [[5] * (65 - used)])
    with pytest.raises(UserError, match="context"):
        lm.activations(["staples " * 100], [0])


@pytest.mark.parametrize("name", ["bloom", "falcon_alibi"])
def test_linear_biases_have_no_bound(name: str) -> None:
    lm = fresh_tiny_model(name)
    lm.resident.model.config.seq_length = 16  # as published BLOOM configs have it
    assert lm.resident.context_length is None
    [sample] = lm.generate("staples " * 80, max_new_tokens=4)
    assert len(sample.prompt_ids) > 64
    want = slow.sample(lm.resident.model, sample.prompt_ids, sample.seed, 4, lm.resident.eos_ids)
    assert list(sample.token_ids) == want


@pytest.mark.parametrize("kwargs", [{"n": 0}, {"max_new_tokens": 0}, {"batch_size": -1}])
def test_counts_below_one_are_refused(kwargs: dict[str, int]) -> None:
    with pytest.raises(UserError, match="at least 1"):
        tiny_model("gpt2").generate("a", **kwargs)


def test_nothing_in_nothing_out() -> None:
    lm = tiny_model("gpt2")
    assert lm.generate([]) == []
    assert lm.logprobs([], []) == []
    assert lm.activations([], [0]) == []
    assert [len(x) for x in lm.logprobs([[5], [6]], [[], []])] == [0, 0]
    with pytest.raises(ValueError, match="prefix"):
        lm.logprobs([[]], [[5]])


def test_seeds_differ_by_call_prompt_and_sample() -> None:
    seeds = {sample_seed(s, i, k) for s in range(8) for i in range(8) for k in range(8)}
    assert len(seeds) == 512
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert sample_seed(-1, 0, 0) != sample_seed(1, 0, 0)


def test_the_global_random_state_is_left_alone() -> None:
    state = torch.random.get_rng_state()
    tiny_model("gpt2").generate("a", n=2, max_new_tokens=2)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_prompts_in_several_calls_are_sampled_as_in_one() -> None:
    lm = tiny_model("gpt2")
    whole = lm.generate(["The cats", "She", "I would"], n=2, max_new_tokens=5, seed=3)
    parts = lm.generate(["The cats"], n=2, max_new_tokens=5, seed=3)
    parts += lm.generate(["She", "I would"], n=2, max_new_tokens=5, seed=3, first=1)
    assert [(s.seed, s.text) for s in parts] == [(s.seed, s.text) for s in whole]
