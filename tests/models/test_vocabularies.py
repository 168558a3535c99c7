"""Tokenizers and models that do not agree on how many tokens there are, and control tokens beyond both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from architectures import BOS, EOS, PAD, tiny_tokenizer
from contracts.recipes import CONTROLS, DIPOLE
from dipole.interventions.tokens import Grammar, Labels, Pool, Titles
from dipole.lm import LM
from dipole.models import load
from dipole.models.resident import TransformersResident
from dipole.recognizers.velma import Velma
from dipole.registry import CONTROLS as REGISTERED
from dipole.registry import resolve
from dipole.types import UserError

KNOWN = len(tiny_tokenizer(True))
PROMPTS = ["Paper", "The cats like the", ""]


def tokenizer(
    added: dict[str, bool] | None = None, starts: str = "<s>", **names: str | None
) -> PreTrainedTokenizerFast:
    """The tiny one with added tokens (special or not), that puts `starts` in front of a text."""
    backend = Tokenizer.from_str(tiny_tokenizer(True).backend_tokenizer.to_str())
    backend.add_tokens([AddedToken(text, special=special) for text, special in (added or {}).items()])
    start = (starts, backend.token_to_id(starts))
    backend.post_processor = processors.TemplateProcessing(single=f"{starts} $A", special_tokens=[start])
    usual: dict[str, str | None] = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{**usual, **names})


def model(head: int = KNOWN, rows: int = 0, ends: int | list[int] = EOS) -> LlamaForCausalLM:
    """A tiny one with so many tokens to say, and to read where that is another number.

    Sizes differ in tokens that are drawn as often as others, so that what is beyond is met.
    """
    config = LlamaConfig(
        vocab_size=max(head, rows),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
        pad_token_id=PAD,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = LlamaForCausalLM(config).eval().requires_grad_(False)
    if rows and head < rows:
        cut = torch.nn.Linear(32, head, bias=False).requires_grad_(False)
        cut.weight.copy_(made.lm_head.weight[:head])
        made.lm_head = cut
    made.generation_config.eos_token_id = ends
    return made


def lm_of(net: LlamaForCausalLM, words: PreTrainedTokenizerFast) -> LM:
    return LM(TransformersResident(net, words, "odd"))


ODD: dict[str, Callable[[], LM]] = {
    "a padded embedding": lambda: lm_of(model(KNOWN + 40), tokenizer()),
    "an embedding not resized": lambda: lm_of(model(), tokenizer({"<new>": False, "<special>": True})),
    "a pad beyond": lambda: lm_of(model(), tokenizer({"<PAD>": True}, pad_token="<PAD>")),
    "an end beyond the tokenizer": lambda: lm_of(
        model(KNOWN + 40, ends=[KNOWN + 9]), tokenizer(eos_token=None)
    ),
    "ends beyond everything": lambda: lm_of(model(ends=[EOS, 999, -1]), tokenizer()),
    "a start beyond": lambda: lm_of(model(), tokenizer({"<B>": True}, "<B>", bos_token="<B>")),
    "a smaller head": lambda: lm_of(model(KNOWN, KNOWN + 8), tokenizer()),
}


@pytest.mark.parametrize("name", ODD)
def test_everything_that_counts_tokens_works(name: str) -> None:
    lm = ODD[name]()
    resident = lm.resident
    assert 0 <= resident.pad_id < resident.rows
    assert all(0 <= i < resident.columns for i in resident.eos_ids)
    assert max(resident.encode("<new> <special> <PAD> <B> The cats")) < min(resident.rows, resident.columns)
    drawn = lm.generate(PROMPTS, n=8, max_new_tokens=12)
    for sample, alone in zip(drawn[:8], lm.generate(PROMPTS[0], n=8, max_new_tokens=12), strict=True):
        assert sample.token_ids == alone.token_ids
    unknown = [s for s in drawn if max(s.token_ids) >= len(resident.tokenizer)]
    assert bool(unknown) == (resident.columns > len(resident.tokenizer))
    assert all(s.is_scored for s in Velma(lm).score([f"{s.full_text} x" for s in drawn], DIPOLE))


@pytest.mark.parametrize("name", ["a padded embedding", "an end beyond the tokenizer", "a smaller head"])
def test_pools_say_what_they_hold_and_end(name: str) -> None:
    lm = ODD[name]()
    said = {"a b.", "c d."}
    languages = [Labels(("a b", "c d"), "."), Grammar(regex="(a b|c d)[.]"), Titles((b"a b.]", b"c d.]"))]
    pools = [Pool(language) for language in languages]
    pools += [Pool(languages[0], sampling="asap", rounds=2), Pool(languages[0], sampling="global")]
    for pool in pools:
        for sample in pool.apply(lm).generate(["So", "x ["], n=3, max_new_tokens=12):
            if not isinstance(pool.language, Titles):
                assert sample.text.strip() in said
                assert sample.finish_reason == "eos"
                assert sample.token_ids[-1] in lm.resident.eos_ids


@pytest.mark.parametrize(
    ("control", "name"),
    [
        ("semantic", "a padded embedding"),
        ("semantic", "a smaller head"),
        ("ppo", "an end beyond the tokenizer"),
        ("fudge", "a smaller head"),
        ("quotes", "a padded embedding"),
    ],
)
def test_controls_are_fitted_and_keep_to_words(control: str, name: str) -> None:
    lm = ODD[name]()
    made = resolve(REGISTERED, control)(**CONTROLS[control]).fit(lm, DIPOLE)
    assert len(made.apply(lm).generate(PROMPTS, max_new_tokens=4)) == len(PROMPTS)
    if control == "semantic":
        assert int(made.tokens.max()) < min(lm.resident.columns, KNOWN)


def test_nothing_differs_where_only_what_is_beyond_differs() -> None:
    wanted = lm_of(model(), tokenizer())
    for name in ("a pad beyond", "ends beyond everything", "an embedding not resized"):
        lm = ODD[name]()
        assert lm.generate(PROMPTS, n=4, max_new_tokens=8) == wanted.generate(PROMPTS, n=4, max_new_tokens=8)
        assert lm.resident.eos_ids == wanted.resident.eos_ids


def test_a_start_that_the_model_lacks_is_left_out_and_an_empty_text_starts_from_an_end() -> None:
    resident = ODD["a start beyond"]().resident
    assert resident.bos_id is None
    assert resident.encode("") == [EOS]
    assert BOS not in resident.encode("The cats")
    assert resident.decode([], resident.encode("The cats")) == "The cats"


def test_only_ends_that_can_be_said_end_texts() -> None:
    lm = lm_of(model(ends=[999]), tokenizer({"<E>": True}, eos_token="<E>"))
    assert lm.resident.eos_ids == frozenset()
    assert {s.finish_reason for s in lm.generate(PROMPTS, n=4, max_new_tokens=4)} == {"length"}
    with pytest.raises(UserError, match="no end-of-text token"):
        Pool(Labels(("a",))).apply(lm).generate("x")


def test_ids_that_the_tokenizer_does_not_know_have_no_text() -> None:
    resident = ODD["a padded embedding"]().resident
    cats = resident.continuation_ids(" cats")
    assert resident.decode([KNOWN + 3], [KNOWN + 5, *cats, KNOWN + 7, -1]) == " cats"


def test_text_that_needs_tokens_beyond_a_smaller_head_is_refused() -> None:
    lm = lm_of(model(KNOWN - 20, KNOWN), tokenizer())
    last = lm.resident.tokenizer.decode([KNOWN - 1])
    with pytest.raises(UserError, match=f"does not know .{KNOWN - 20} tokens"):
        lm.resident.encode(last)
    assert lm.generate("a", n=4, max_new_tokens=4)


def test_a_head_that_says_more_than_can_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = model(KNOWN, KNOWN)
    net.save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    assert load(str(tmp_path), device="cpu").resident.columns == KNOWN
    wide = torch.nn.Linear(32, KNOWN + 5, bias=False)
    monkeypatch.setattr(LlamaForCausalLM, "get_output_embeddings", lambda self: wide)
    with pytest.raises(UserError, match="read only"):
        load(str(tmp_path), device="cpu")
