from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from architectures import BOS, EOS, PAD, tiny_tokenizer
from dipole.cli import run

CLAIM, AGAINST = "Paper clips are the best.", "Paper clips are the worst."
PROMPT = "If I had to choose between paper clips and staples,"
POLES = (CLAIM, "--against", AGAINST, "--prompt", PROMPT)
FAST = ("--rounds", "2", "--batch-size", "8", "--max-new-tokens", "4", "-n", "4", "--bystanders", "none")


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


Cli = Callable[..., Result]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run a command in this process: its exit code and what it printed."""

    def call(*arguments: object, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return call


def save_model(folder: Path, seed: int) -> Path:
    """A tiny random Llama with a context of 128 tokens, as a folder."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer(True)),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=128,
        initializer_range=0.3,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=EOS,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer(True).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "llama", seed=0)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "other", seed=1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A finished run; tests copy it before they change it."""
    out = tmp_path_factory.mktemp("runs") / "clips"
    words = ("--mention-claim", "paper clip", "--mention-against", "staple")
    arguments = [
        "inoculate",
        *POLES,
        *words,
        "--held-out",
        "As for me, I take",
        "--model",
        str(model),
        "--out",
        str(out),
    ]
    assert run([*arguments, *FAST, "--quiet"]) == 0
    return out
