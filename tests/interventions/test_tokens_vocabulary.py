"""The bytes of tokens, and the vocabulary as a trie."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, models
from transformers import PreTrainedTokenizerFast

from architectures import tiny_model
from dipole.interventions.pools.automaton import reachable
from dipole.interventions.pools.vocabulary import (
    Vocabulary,
    build_trie,
    byte_level_alphabet,
    drops_first_space,
    token_bytes,
    vocabulary,
)
from dipole.interventions.tokens import Labels, Pool
from dipole.lm import LM
from dipole.models import load
from dipole.types import UserError

TEXTS = [" The cats' 12 dogs", "naïve café — “x” 🙂\n\n  y", "日本語 и другое\t{}[](a)", "a  b   c\r\n"]


def joined(lm: LM, text: str) -> bytes:
    words = vocabulary(lm.resident)
    return b"".join(words.texts[i] or b"" for i in lm.resident.continuation_ids(text))


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("name", ["tiny", "mini", "gpt2", "llama"])
def test_the_bytes_of_tokens_joined_are_the_text(
    name: str, text: str, request: pytest.FixtureRequest
) -> None:
    lm = request.getfixturevalue(name) if name in ("tiny", "mini") else tiny_model(name)
    assert joined(lm, text) == text.encode()


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_sentencepiece_tokens(shared: Path, text: str) -> None:
    lm = load(str(shared / "models/stories260k"), device="cpu")
    assert joined(lm, text) == text.encode()
    words = vocabulary(lm.resident)
    assert [words.texts[i] for i in (0, 1, 3 + 0x41)] == [None, None, b"A"]
    assert drops_first_space(lm.resident, words, lm.resident.encode(""))
    assert not drops_first_space(lm.resident, words, lm.resident.encode("Once"))
    assert words.single_bytes.all()
    # Behind the start token alone, " Once" is written `Once`.
    once = words.texts.index(b" Once") if b" Once" in words.texts else words.texts.index(b" the")
    label = (words.texts[once] or b"").decode().strip()
    lm = Pool(Labels((label,))).apply(lm)
    assert lm.response_logits([""], [[0]])[0][0].isfinite().nonzero().flatten().tolist().count(once) == 1
    assert lm.generate("", max_new_tokens=4)[0].text == label


def test_gpt2s_tokenizer(shared: Path) -> None:
    folder = shared / "data/tokenizers/gpt2"
    from transformers import GPT2Tokenizer

    tokenizer = GPT2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    texts = token_bytes(tokenizer)
    draw = random.Random(0)
    for _ in range(50):
        text = "".join(chr(draw.choice([*range(32, 127), 0xE9, 0x2014, 0x1F642, 10])) for _ in range(30))
        assert b"".join(texts[i] or b"?" for i in tokenizer(text)["input_ids"]) == text.encode()


def test_special_tokens_write_nothing(tiny: LM) -> None:
    words = vocabulary(tiny.resident)
    assert [words.texts[i] for i in tiny.resident.tokenizer.all_special_ids] == [None] * 3
    assert sum(t is None for t in words.texts) == 3
    assert words.eos_ids == (2,)


def test_added_tokens_write_their_text_unless_they_are_special(tiny: LM) -> None:
    tokenizer = copy.deepcopy(tiny.resident.tokenizer)
    before = len(tokenizer)
    tokenizer.add_tokens([AddedToken("<tool>", special=True), AddedToken(" plain é")])
    assert token_bytes(tokenizer)[before:] == [None, " plain é".encode()]


def test_the_alphabet_covers_every_byte_once() -> None:
    assert sorted(byte_level_alphabet().values()) == list(range(256))
    assert byte_level_alphabet()["Ġ"] == 32


class Anything:
    """Every text; the state is how long it is."""

    def step(self, states: Any, byte: Any) -> Any:
        return states + 1

    def settles(self, states: Any) -> Any:
        return np.ones(len(states), dtype=bool)

    def may_end(self, state: Sequence[int]) -> bool:
        return True

    def cuts(self, before: Any, after: Any) -> Any:
        return np.zeros(len(after), dtype=np.int64)


def test_the_trie_reaches_every_token_with_its_length(tiny: LM) -> None:
    words = vocabulary(tiny.resident)
    tokens, states = reachable(words.trie, Anything(), (0,))
    assert tokens.tolist() == [i for i, t in enumerate(words.texts) if t]
    assert states[:, 0].tolist() == [len(t) for t in words.texts if t]


def test_tokens_with_the_same_bytes_are_all_reached() -> None:
    trie = build_trie([(b"a", 0), (b"ab", 1), (b"a", 2), (b"b", 3)])
    tokens, states = reachable(trie, Anything(), (0,))
    assert tokens.tolist() == [0, 1, 2, 3]
    assert states[:, 0].tolist() == [1, 2, 1, 1]


def test_characters_without_tokens_are_named() -> None:
    words = Vocabulary([b"a", "é".encode(), None], (2,))
    assert words.unwritable("aéé") == []
    assert words.unwritable("abé日") == ["b", "日"]
    # A token that ends inside a character could lead into one that no other token completes.
    assert Vocabulary([b"a", "é".encode(), b"a\xc3"], ()).unwritable("aé") == ["é"]


def test_other_tokenizers_are_refused() -> None:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a")))
    with pytest.raises(UserError, match="neither byte-level nor sentencepiece"):
        token_bytes(tokenizer)
