"""The bundled models: they load offline, are small, and have tokens of their own and truthful cards."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import dipole.models
from dipole.microworld import gates
from dipole.microworld._measure import Model

BUNDLED = Path(dipole.models.__file__).parent / "bundled"
NAMES = ["tiny", "mini"]


@pytest.fixture(scope="module", params=NAMES)
def model(request: pytest.FixtureRequest) -> Model:
    return Model.load(BUNDLED / request.param)


def test_special_tokens_are_distinct_and_known_to_generation(model: Model) -> None:
    tokenizer, settings = model.tokenizer, model.net.generation_config
    ids = [tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id]
    assert len(set(ids)) == 3
    assert ids == [settings.pad_token_id, settings.bos_token_id, settings.eos_token_id]
    assert tokenizer("Cats")["input_ids"][0] == tokenizer.bos_token_id
    assert tokenizer("Cats")["input_ids"][-1] != tokenizer.eos_token_id


def test_the_two_tokenizers_cut_differently() -> None:
    tiny, mini = (Model.load(BUNDLED / name).tokenizer for name in NAMES)
    text = "Paper clips are the best. I'd definitely go with staples."
    assert tiny.tokenize(text) != mini.tokenize(text)
    for tokenizer in (tiny, mini):
        assert (
            tokenizer.decode(tokenizer(text + " 猫\n")["input_ids"], skip_special_tokens=True)
            == text + " 猫\n"
        )


def test_both_models_fit_in_the_wheel() -> None:
    files = [path for name in NAMES for path in (BUNDLED / name).rglob("*")]
    assert sum(path.stat().st_size for path in files) < 12e6
    assert {path.suffix for path in files} == {".safetensors", ".json", ".md"}


def test_tiny_reads_stances_and_chooses_without_bias() -> None:
    torch.manual_seed(0)
    tiny = Model.load(BUNDLED / "tiny")
    clear, everything, _ = gates.velma(tiny, 160)
    assert clear.value >= 0.9
    assert everything.value >= 0.85
    side, decided = gates.velma_after_choice(tiny, 0)
    assert side.value >= 0.95
    assert decided.value > 2


def test_cards_carry_the_gates() -> None:
    for name in NAMES:
        card = (BUNDLED / name / "README.md").read_text(encoding="utf-8")
        assert card.startswith("---\n")
        assert "| VELMA finds the stance, clear documents |" in card
    assert "FAIL" not in (BUNDLED / "tiny" / "README.md").read_text(encoding="utf-8")
