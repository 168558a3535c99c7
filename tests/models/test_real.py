"""SmolLM2 out of its package: 4-bit blocks, a chat template and 49,152 tokens, as anybody gets them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dipole
from architectures import REAL, tiny_model
from contracts.recipes import random_adapter
from dipole.models import load
from dipole.models.gguf_header import read_header
from dipole.models.sources import PACKAGED

pytestmark = pytest.mark.real

WEIGHTS = 134_515_008
FINGERPRINT = "2edac5c8c5168cb1"


def test_it_is_the_model_that_it_should_be() -> None:
    resident = tiny_model(REAL).resident
    assert resident.fingerprint == FINGERPRINT
    assert sum(p.numel() for p in resident.model.parameters()) == WEIGHTS
    assert {p.dtype for p in resident.model.parameters()} == {torch.float32}
    assert resident.context_length == 8192
    assert resident.written == resident.rows == 49_152
    assert resident.model.get_input_embeddings().weight is resident.model.get_output_embeddings().weight
    (logprobs,) = tiny_model(REAL).logprobs(
        [resident.encode("The capital of France is")], [resident.continuation_ids(" Paris")]
    )
    assert logprobs.tolist() == pytest.approx([-0.258], abs=0.01)


def test_its_template_and_its_tokens() -> None:
    lm = tiny_model(REAL)
    told = lm.resident.tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hello"}], tokenize=False, add_generation_prompt=True
    )
    assert told.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    assert lm.resident.tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]) == [1, 2]
    assert lm.resident.eos_ids == {2}
    for text in ("It's 2,345 °C.\n\n  Really?", "Überraschung: 漢字 и кириллица", "x\t\ty"):
        assert lm.resident.tokenizer.decode(lm.resident.encode(text)) == text


def test_the_header_is_read_to_the_end() -> None:
    path = PACKAGED[REAL].path
    assert path is not None
    header = read_header(path)
    assert (header.architecture, len(header.tensors)) == ("llama", 272)
    assert sum(tensor.values for tensor in header.tensors) == WEIGHTS
    last = max(header.tensors, key=lambda tensor: tensor.start)
    assert last.start + 4 * last.values == header.size or last.start + last.values * 20 // 32 == header.size


def test_a_saved_lm_of_it_loads_again(tmp_path: Path) -> None:
    lm = random_adapter(tiny_model(REAL)).apply(tiny_model(REAL), 0.5)
    dipole.save(lm, tmp_path / "lm")
    assert "quantization" not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))
    again = load(str(tmp_path / "lm"), device="cpu")
    assert again.resident.name == REAL
    assert again.generate("I like", max_new_tokens=3) == lm.generate("I like", max_new_tokens=3)


@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="peaks of memory are read where Linux has them"
)
def test_loading_takes_less_than_two_and_a_half_times_its_weights() -> None:
    """And nothing is said meanwhile. Peaks are those of a process, so it has one of its own."""
    code = (
        "import dipole; from transformers import LlamaForCausalLM;"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]);"
        "dipole.load('tiny'); before = peak(); dipole.load('smollm2'); print(peak() - before)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    assert 0.9 < int(ended.stdout) * 1024 / (WEIGHTS * 4) < 2.5
