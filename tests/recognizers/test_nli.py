from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from architectures import tiny_tokenizer
from dipole.protocols import Recognizer
from dipole.recognizers.nli import NLI, entailment_index
from dipole.types import UserError
from tolerance import SCORE


class Pair(NamedTuple):
    claim: str = "Paper clips are the best."
    against: str = "Paper clips are the worst."


TEXTS = ["I hate staples.", "So", "The cats like dogs and paper clips are good today"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("nli")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tiny_tokenizer(False)),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=48,
        initializer_range=0.3,
        pad_token_id=0,
        id2label={0: "CONTRADICTION", 1: "neutral", 2: "Entailment"},
    )
    BertForSequenceClassification(config).eval().save_pretrained(place)
    tiny_tokenizer(False).save_pretrained(place)
    return place


def by_hand(folder: Path, text: str, statement: str) -> float:
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    inputs = tiny_tokenizer(False)(text, statement, return_tensors="pt")
    with torch.no_grad():
        return float(model(**inputs).logits[0, 2])


def test_score_is_the_difference_of_entailment_logits_over_a_tenth(folder: Path) -> None:
    found = NLI(str(folder), device="cpu").score(TEXTS, Pair())
    for text, score in zip(TEXTS, found, strict=True):
        wanted = (by_hand(folder, text, Pair().claim) - by_hand(folder, text, Pair().against)) / 0.1
        assert score.value == pytest.approx(wanted, abs=SCORE / 0.1)
        assert score.reason is None
    swapped = NLI(str(folder), device="cpu").score(TEXTS, Pair(*tuple(Pair())[::-1]))
    assert [s.value for s in swapped] == [-s.value for s in found]
    assert isinstance(NLI(), Recognizer)


def test_a_long_text_is_cut_and_says_so_and_an_empty_one_is_unscored(folder: Path) -> None:
    long, empty = NLI(str(folder), device="cpu").score(["I would go with the staples. " * 9, " "], Pair())
    assert long.is_scored
    assert (long.reason or "").startswith("only the first ")
    assert not empty.is_scored


def test_the_entailment_label_is_read_not_assumed() -> None:
    assert entailment_index({0: "contradiction", 1: "entailment", 2: "neutral"}) == 1
    assert entailment_index({0: "ENTAILMENT", 1: "not_entailment"}) == 0
    with pytest.raises(UserError, match="LABEL_0, LABEL_1"):
        entailment_index({0: "LABEL_0", 1: "LABEL_1"})


def test_statements_that_fill_the_input_and_a_missing_model_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave no room"):
        NLI(str(folder), device="cpu").score(["So"], Pair(claim="staples " * 60))
    with pytest.raises(UserError, match="can't be loaded"):
        NLI(str(tmp_path / "nothing"), device="cpu").score(["So"], Pair())
