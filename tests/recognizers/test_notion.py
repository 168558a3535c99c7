"""A refined notion as a recognizer: its score, its folder, and what is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from architectures import CONTEXT, tiny_model
from dipole.engaging.blocks import decoder_blocks
from dipole.lm import LM
from dipole.protocols import Recognizer
from dipole.recognizers.fitted import load_fitted
from dipole.recognizers.notion import NotionScore
from dipole.types import UserError
from reference import fudge as slow
from tolerance import BATCHED_LOGITS, EXACT

TEXTS = ["Paper clips are the best.", " ", "Staples", "", "The cats like the dogs."]


def notion(name: str = "gpt2", layer: int = 1) -> NotionScore:
    weight = torch.randn(32, generator=torch.Generator().manual_seed(0), dtype=torch.float64) / 10
    return NotionScore(tiny_model(name), layer, weight, -0.25, {"topic": 3, "words": ["murder"]})


def opened(name: str) -> LM:
    return tiny_model(name)


def test_a_score_is_the_probe_on_the_mean_state() -> None:
    made = notion()
    assert isinstance(made, Recognizer)
    resident = made.judge.resident
    block = decoder_blocks(resident.model)[1]
    for text, score in zip(TEXTS, made.score(TEXTS), strict=True):
        if not text.strip():
            assert math.isnan(score.value)
            assert score.reason == "the text is empty"
            continue
        read = torch.tensor(slow.states(resident.model, block, resident.encode(text)), dtype=torch.float64)
        want = float(read[1:].mean(0) @ made.weight) - 0.25
        assert score.value == pytest.approx(want, abs=BATCHED_LOGITS)
        assert score.reason is None


def test_a_long_text_is_read_in_part_and_says_so() -> None:
    long, short = notion().score(["the dog and " * CONTEXT, "the dog"])
    assert long.reason == f"read up to token {CONTEXT} alone"
    assert math.isfinite(long.value)
    assert short.reason is None


def test_texts_that_can_not_be_scored_say_why() -> None:
    made = notion()
    broken = NotionScore(made.judge, 1, made.weight * torch.inf, 0.0)
    (score,) = broken.score(["Staples"])
    assert math.isnan(score.value)
    assert score.reason == "the model's activations are not finite"
    assert notion().score([]) == []


def test_saved_and_loaded_it_scores_the_same(tmp_path: Path) -> None:
    made = notion()
    made.save(tmp_path / "detective")
    loaded = load_fitted(str(tmp_path / "detective"), opened)
    assert isinstance(loaded, NotionScore)
    assert (loaded.layer, loaded.bias, loaded.concept) == (1, -0.25, made.concept)
    for one, other in zip(loaded.score(TEXTS), made.score(TEXTS), strict=True):
        assert one.value == pytest.approx(other.value, abs=EXACT, nan_ok=True)
        assert one.reason == other.reason


def test_refusals(tmp_path: Path) -> None:
    folder = tmp_path / "n"
    notion().save(folder)
    plain = json.loads((folder / "recognizer.json").read_text("utf-8"))

    def refused(said: str, item: str | None = None, model: str = "gpt2", **changed: object) -> None:
        (folder / "recognizer.json").write_text(json.dumps({**plain, **changed}), "utf-8")
        with pytest.raises(UserError, match=said) as caught:
            NotionScore.load(folder, item, lambda _name: tiny_model(model))
        assert "\n" not in str(caught.value)

    refused("holds one notion; leave out ':3'", "3")
    refused(r"made with gpt2 \(fingerprint .* the loaded model is llama", None, "llama")
    refused("layer must be a whole number .* make it again", layer="middle")
    refused("concept must be a table.* make it again", concept="detective")
    refused("bias must be a finite number .* make it again", bias=None)
    refused("Infinity is no number of JSON", bias=math.inf)
    short = NotionScore(tiny_model("gpt2"), 1, torch.ones(5, dtype=torch.float64), 0.0)
    short.save(folder)
    refused(r"weights of shape \(5,\), and gpt2 needs \(32,\)")
    (folder / "recognizer.safetensors").write_bytes(b"no")
    refused("can't be read")
    (folder / "recognizer.json").unlink()
    with pytest.raises(UserError, match="There is no file"):
        NotionScore.load(folder, None, opened)
