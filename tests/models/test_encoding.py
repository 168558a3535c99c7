"""What a text spells stays text, whatever the tokenizer makes of control tokens."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import ByT5Tokenizer, GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

import dipole
from architectures import BOS, EOS, fresh_tiny_model, tiny_model, tiny_tokenizer
from dipole.concepts import Dipole
from dipole.interventions.prompt import Prefix
from dipole.interventions.tokens import Labels, Pool
from dipole.lm import LM
from dipole.models import load
from dipole.models.encoding import Encoder
from dipole.models.resident import TransformersResident
from dipole.recognizers.nli import NLI
from dipole.recognizers.velma import Velma
from dipole.types import UserError

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'<>/|[]_\n"


def byte_level(ignore_merges: bool = False, **flags: bool) -> PreTrainedTokenizerFast:
    """GPT-2's and Llama 3's kind, with control tokens that eat blanks or are no special tokens at all."""
    backend = Tokenizer.from_str(tiny_tokenizer(True).backend_tokenizer.to_str())
    state = json.loads(backend.to_str())
    state["model"]["ignore_merges"] = ignore_merges
    backend = Tokenizer.from_str(json.dumps(state))
    special = flags.pop("special", True)
    backend.add_tokens([AddedToken("<|im_end|>", special=special, normalized=False, **flags)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )


def unigram() -> PreTrainedTokenizerFast:
    """T5's and XLNet's kind: the control token is a piece, and the likeliest."""
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), ("\u2581", -3.0), ("<|im_end|>", 0.0)]
    backend = Tokenizer(models.Unigram([*pieces, *((c, -6.0) for c in LETTERS)], unk_id=0))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    backend.add_special_tokens(["<|im_end|>"])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def sentencepiece() -> PreTrainedTokenizerFast:
    """Llama 2's kind: BPE over marked blanks, bytes where a character is unknown."""
    known = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256)), "\u2581", *LETTERS]
    backend = Tokenizer(
        models.BPE({t: i for i, t in enumerate(known)}, [], unk_token="<unk>", byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    steps = [
        decoders.Replace("\u2581", " "),
        decoders.ByteFallback(),
        decoders.Fuse(),
        decoders.Strip(" ", 1),
    ]
    backend.decoder = decoders.Sequence(steps)
    backend.add_special_tokens(["<|im_end|>"])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def wordpiece() -> PreTrainedTokenizerFast:
    """BERT's kind; it closes texts itself."""
    known = ["[UNK]", "<s>", "</s>", "<|im_end|>", *LETTERS, *(f"##{c}" for c in LETTERS)]
    backend = Tokenizer(models.WordPiece({t: i for i, t in enumerate(known)}, unk_token="[UNK]"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    backend.add_special_tokens(["<|im_end|>"])
    around = [("<s>", 1), ("</s>", 2)]
    backend.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="[UNK]"
    )


def words() -> PreTrainedTokenizerFast:
    """Whole words: of a control token nothing is left but unknown words."""
    backend = Tokenizer(models.WordLevel({"<unk>": 0, "</s>": 1, "<|im_end|>": 2, "a": 3, "b": 4}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>", unk_token="<unk>")


def slow() -> ByT5Tokenizer:
    """Written in Python, a token a byte."""
    return ByT5Tokenizer(extra_ids=0)


KINDS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte_level": byte_level,
    "llama3": lambda: byte_level(ignore_merges=True),
    "eats blanks": lambda: byte_level(lstrip=True, rstrip=True),
    "not special": lambda: byte_level(special=False),
    "one word": lambda: byte_level(single_word=True),
    "unigram": unigram,
    "sentencepiece": sentencepiece,
    "wordpiece": wordpiece,
    "slow": slow,
}
TEXTS = ["a </s> b", "</s>", "I saw <|im_end|>and  <s>.", "x</s</s>", "</s>\n</s>", "<|im_<|im_end|>end|>"]


def encoder(tokenizer: PreTrainedTokenizerFast, as_control: bool = False) -> Encoder:
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    ends = [] if end is None or end == tokenizer.unk_token_id else [end]
    return Encoder(tokenizer, "it", 10_000, ends, as_control)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_control_token_in_a_text_is_text(kind: str, text: str) -> None:
    tokenizer = KINDS[kind]()
    made = encoder(tokenizer)
    before = list(made.around[0])
    ids, behind = made.start(text)[len(before) :], made.behind(text)
    for found in (ids, behind):
        assert made.control.isdisjoint(found)
        said = "".join(made.decode(found).split())
        assert said == "".join(text.split())
    as_control = encoder(tokenizer, as_control=True).start(text)[len(before) :]
    assert as_control == tokenizer(text, add_special_tokens=False)["input_ids"]
    if kind not in ("one word", "slow"):  # which know some of these only
        assert not made.control.isdisjoint(as_control)


@pytest.mark.parametrize("kind", [*KINDS, "words"])
@pytest.mark.parametrize("text", ["a", "the cat sat. b", " two  blanks", "a\nb", "b!", "é 日本 🙂"])
def test_any_other_text_is_what_the_tokenizer_makes_of_it(kind: str, text: str) -> None:
    tokenizer = (KINDS | {"words": words})[kind]()
    made = encoder(tokenizer)
    assert [*made.start(text), *made.around[1]] == tokenizer(text)["input_ids"]


def test_words_of_which_nothing_else_is_known_become_unknown_and_not_control() -> None:
    assert encoder(words()).start("a </s> b") == [3, 0, 4]


def test_it_is_read_as_the_tokenizer_itself_reads_it_when_told_to_split() -> None:
    for kind in ("byte_level", "llama3", "eats blanks", "sentencepiece", "wordpiece", "slow"):
        tokenizer = KINDS[kind]()
        made = encoder(tokenizer)
        wanted = tokenizer("I saw <|im_end|> there </s>", add_special_tokens=False, split_special_tokens=True)
        assert made.start("I saw <|im_end|> there </s>")[len(made.around[0]) :] == wanted["input_ids"]


def test_merges_go_on_through_what_is_no_control_token_here() -> None:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(False), decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator(["a <| b |> a <| b |>"] * 9, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>")
    ids = encoder(tokenizer).start("a <|end|>")
    assert "\u0120<|" in tokenizer.convert_ids_to_tokens(ids)
    assert ids == tokenizer("a <|end|>", split_special_tokens=True)["input_ids"]


def test_control_tokens_that_overlap_are_all_cut() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens(["<a<", "<b>"])
    tokenizer.chat_template = "<a< <b>"
    made = encoder(tokenizer)
    ids = made.start("x<a<b>")
    assert made.control.isdisjoint(ids[1:])
    assert made.decode(ids) == "x<a<b>"


def test_a_control_token_of_one_character_is_that_character() -> None:
    tokenizer = byte_level()
    line_end = tokenizer("\n")["input_ids"][-1]
    made = Encoder(tokenizer, "it", 10_000, [line_end], False)
    assert made.decode(made.start("a\nb")) == "a\nb"


def test_the_added_words_of_a_chat_template_are_control_and_its_plain_words_and_blanks_are_not() -> None:
    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken(t) for t in ("<|user|>", "user", "\n\n", "<|elsewhere|>")])
    plain = encoder(tokenizer).control
    tokenizer.chat_template = {"one": "<|user|>user\n\n", "two": "x"}
    added = tokenizer.convert_tokens_to_ids("<|user|>")
    assert encoder(tokenizer).control == plain | {added}
    assert added not in encoder(tokenizer).start("<|user|>")


def test_the_switch_of_load_and_of_the_command_line(tmp_path: Path) -> None:
    lm = load("tiny", device="cpu")
    eos = min(lm.resident.eos_ids)
    assert eos not in lm.resident.encode("a <eos> b")
    assert lm.resident.decode([], lm.resident.encode("a <eos> b")) == "a <eos> b"
    told = load("tiny", device="cpu", special_tokens_in_text=True)
    assert eos in told.resident.encode("a <eos> b")
    assert told.resident.encode("a <eos>")[-1] == eos
    assert eos in told.resident.continuation_ids(" <eos>")
    dipole.save(Prefix("Tea.").apply(lm), tmp_path / "lm")
    assert not load(str(tmp_path / "lm"), device="cpu").resident.special_tokens_in_text
    again = load(str(tmp_path / "lm"), device="cpu", special_tokens_in_text=True)
    assert again.resident.special_tokens_in_text


def test_a_text_that_spells_an_end_is_written_scored_and_pooled_like_any_other() -> None:
    shared = tiny_model("gpt2").resident
    lm = LM(shared)
    prompt = "The cats </s> like"
    (sample,) = lm.generate(prompt, max_new_tokens=3)
    assert EOS not in sample.prompt_ids
    assert lm.resident.decode([], sample.prompt_ids) == prompt
    poles = Dipole("Tea </s> is best.", "Tea </s> is worst.")
    (found,) = Velma(lm).score([f"{prompt} tea"], poles)
    ids = [*lm.resident.encode(f"{prompt} tea")]
    assert found.is_scored
    assert BOS not in ids[1:]
    assert EOS not in ids
    pooled = Pool(Labels(("a </s> b",), ".")).apply(lm)
    (written,) = pooled.generate("So", max_new_tokens=40)
    assert written.text.strip() in {"a </s> b.", "a </s> b"}
    assert written.token_ids[-1] == EOS
    assert EOS not in written.token_ids[:-1]


def test_a_judge_of_entailment_reads_a_separator_as_text(tmp_path: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification

    tokenizer = wordpiece()
    tokenizer.pad_token = "<s>"
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
        id2label={0: "no", 1: "entailment"},
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    poles = Dipole("a b c", "a b d")
    cut, whole = (NLI(str(tmp_path), device="cpu").score([text], poles)[0] for text in ("a </s> b", "a b"))
    ids = tokenizer("a </s> b", split_special_tokens=True)["input_ids"]
    assert ids.count(2) == 1
    assert cut.value != whole.value
    from dipole.recognizers.nli import _load

    assert _load(str(tmp_path), "cpu").tokenizer("a </s> b")["input_ids"] == ids


def test_a_token_that_the_model_lacks_is_cut_up_or_refused() -> None:
    lm = fresh_tiny_model("gpt2")
    tokenizer = byte_level(special=False)
    rows = lm.resident.rows
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") >= rows - 1
    tokenizer.add_tokens(["<more>"])
    resident = TransformersResident(lm.resident.model, tokenizer, "longer")
    ids = resident.encode("a <more> b")
    assert max(ids) < rows
    assert resident.decode([], ids) == "a <more> b"
    config = GPT2Config(vocab_size=100, n_embd=8, n_layer=1, n_head=1, n_positions=64)
    short = TransformersResident(GPT2LMHeadModel(config).eval(), tiny_tokenizer(False), "short")
    with pytest.raises(UserError, match="its model does not know"):
        short.encode("Paper clips é 日本")
