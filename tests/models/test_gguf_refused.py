"""GGUF files that are no language model, or not a whole one: one sentence for each."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from dipole.models import load
from dipole.models.gguf_header import read_header
from dipole.types import UserError
from gguf_files import F32, Writer, tiny_gguf, tiny_llama

ONE = np.ones((2, 32), dtype=np.float32)


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        load(str(path), device="cpu")
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "x.gguf").read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "x.gguf"


def test_every_cut_is_told(whole: bytes, path: Path) -> None:
    path.write_bytes(whole)
    tensors = read_header(path).tensors
    data = min(tensor.start for tensor in tensors)
    last = max(tensors, key=lambda tensor: tensor.start)
    for size in [4, 7, 20, 24, 25, 31, 100, 1000, *range(200, data, 397)]:
        path.write_bytes(whole[:size])
        refused(path, "ends within its header")
    for size in (data, data + 1, len(whole) // 2, last.start, last.start + 4 * last.values - 1):
        path.write_bytes(whole[:size])
        refused(path, r"ends within its tensor '(blk|token_embd|output)")


@pytest.mark.parametrize("length", [1, 2, 7, 33])
def test_tensors_lie_where_the_header_says(length: int, path: Path) -> None:
    """Whatever the length of the header is: what follows it is aligned."""
    writer = Writer(path)
    writer.raw.add_string("general.name", "x" * length)
    writer.raw.add_array("some.flags", [True, False])
    writer.raw.add_array("some.numbers", list(range(65)))
    header = read_header(writer.tensor("a", ONE).tensor("b", 7 * ONE).write())
    assert header.facts["general.name"] == "x" * length
    assert header.facts["some.flags"] == [True, False]
    assert header.facts["some.numbers"] == 65
    for tensor, want in zip(header.tensors, (ONE, 7 * ONE), strict=True):
        assert tensor.shape == want.shape
        found = np.frombuffer(path.read_bytes(), "<f4", tensor.values, tensor.start)
        assert found.tolist() == want.ravel().tolist()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "is empty"),
        (b"GG", "is no GGUF file"),
        (b"PK\x03\x04" + bytes(400), "is no GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1", "is no GGUF file"),
        (b"GGUF" + struct.pack("<IQQ", 1, 0, 0), "is of version 1 of GGUF; convert"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "is big-endian"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**62, 0), "ends within its header"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 2**62), "ends within its header"),
        (b"GGUF" + struct.pack("<IQQQ", 3, 0, 1, 2**63) + bytes(40), "ends within its header"),
        (b"GGUF" + struct.pack("<IQQQ2sI", 3, 0, 1, 2, b"ab", 77) + bytes(40), "unknown kind 77"),
        (
            b"GGUF" + struct.pack("<IQQQ2sIIQ", 3, 0, 1, 2, b"ab", 9, 4, 2**60) + bytes(40),
            "within its header",
        ),
        (b"GGUF" + struct.pack("<IQQQ2sIIQ", 3, 0, 1, 2, b"ab", 9, 9, 2) + bytes(40), "array of the unknown"),
        (b"GGUF" + struct.pack("<IQQQ2sI", 3, 0, 1, 2, b"\xff\xff", 0) + bytes(40), "no text"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 0), "of which architecture"),
    ],
)
def test_what_is_no_gguf(content: bytes, match: str, path: Path) -> None:
    path.write_bytes(content)
    refused(path, match)


def test_a_folder_of_that_name_and_a_file_that_is_not_there(path: Path) -> None:
    refused(path, "does not exist")
    path.mkdir()
    refused(path, r"is a folder and has no config.json and no \.gguf file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(whole: bytes, path: Path) -> None:
    path.write_bytes(whole)
    path.chmod(0)
    refused(path, "make it readable")


def _of(architecture: str, *facts: Callable[[Any], Any]) -> Callable[[Path], Path]:
    def made(path: Path) -> Path:
        writer = Writer(path, architecture)
        for fact in facts:
            fact(writer.raw)
        return writer.tensor("token_embd.weight", ONE).write()

    return made


OTHERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "unknown architecture": (_of("frobnicator"), "architecture 'frobnicator', which transformers can't"),
    "no facts at all": (_of("llama"), "llama"),
    "vision projector": (_of("clip"), "is a vision projector"),
    "projector by its type": (_of("llava", lambda raw: raw.add_type("mmproj")), "is a projector"),
    "adapter": (_of("llama", lambda raw: raw.add_type("adapter")), "is an adapter, not a whole model"),
    "control vector": (_of("controlvector"), "is a control vector"),
    "encoder": (_of("bert"), r"is an encoder \(bert\)"),
    "newer encoder": (_of("modern-bert"), r"is an encoder \(modern-bert\)"),
    "encoder by its mask": (_of("qwen2", lambda raw: raw.add_causal_attention(False)), "is an encoder"),
    "encoder and decoder": (
        _of(
            "t5",
            lambda raw: raw.add_block_count(1),
            lambda raw: raw.add_embedding_length(32),
            lambda raw: raw.add_vocab_size(2),
        ),
        "not a causal",
    ),
    "one of several parts": (_of("llama", lambda raw: raw.add_uint16("split.count", 3)), "one of 3 parts"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_things_in_gguf(name: str, path: Path) -> None:
    make, match = OTHERS[name]
    refused(make(path), match)


def test_a_quantisation_that_nothing_takes_out(path: Path) -> None:
    kind = gguf.GGMLQuantizationType.Q8_K
    writer = Writer(path).facts().tokenizer()
    size = gguf.GGML_QUANT_SIZES[kind][1]
    writer.raw.add_tensor("token_embd.weight", np.zeros((1, size), dtype=np.uint8), raw_dtype=kind)
    refused(writer.write(), "is quantised as Q8_K, which can't be taken out")


def test_a_quantisation_that_is_not_known(whole: bytes, path: Path) -> None:
    path.write_bytes(whole)
    name = read_header(path).tensors[0].name.encode()
    at = whole.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4 + 16
    assert whole[at : at + 4] == struct.pack("<I", F32)
    path.write_bytes(whole[:at] + struct.pack("<I", 250) + whole[at + 4 :])
    refused(path, "of the type 250, which the installed package gguf does not know")


def test_a_tensor_that_ends_within_a_block(path: Path) -> None:
    tiny_gguf(path, gguf.GGMLQuantizationType.Q8_0)
    name, whole = b"blk.0.ffn_up.weight", path.read_bytes()
    at = whole.index(struct.pack("<Q", len(name)) + name) + 8 + len(name) + 4
    assert whole[at : at + 16] == struct.pack("<QQ", 64, 96)
    path.write_bytes(whole[:at] + struct.pack("<QQ", 63, 95) + whole[at + 16 :])
    refused(path, "does not fill its blocks")


def test_tokenizers_that_cannot_be_made_again(path: Path) -> None:
    model = tiny_llama()
    refused(Writer(path).facts().tokenizer("rwkv").weights(model).write(), "tokenizer of the kind 'rwkv'")
    writer = Writer(path).facts()
    writer.raw.add_vocab_size(model.config.vocab_size)
    refused(writer.weights(model).write(), "holds no tokenizer")
    writer = Writer(path).facts()
    writer.raw.add_tokenizer_model("gpt2")
    writer.raw.add_token_list(["a", "b"])
    writer.raw.add_vocab_size(model.config.vocab_size)
    refused(writer.weights(model).write(), "tokenizer of the kind 'gpt2'")


def test_a_tensor_that_is_not_there(path: Path) -> None:
    model = tiny_llama()
    writer = Writer(path).facts().tokenizer()
    whole = writer.weights(model)
    for tensors in whole.raw.tensors:
        tensors.pop("blk.1.ffn_up.weight")
    refused(whole.write(), r"does not fill the whole model.*layers\.1\.mlp\.up_proj")


def test_without_the_package(whole: bytes, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(whole)
    plain = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "gguf" else plain(name))
    refused(path, r"pip install 'dipole\[gguf\]'")
