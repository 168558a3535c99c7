"""One name for one set of weights."""

from __future__ import annotations

import torch
from torch import nn

from architectures import ARCHITECTURES, fresh_tiny_model, tiny_model
from dipole.models.fingerprint import fingerprint


def test_architectures_differ() -> None:
    assert len({tiny_model(name).resident.fingerprint for name in ARCHITECTURES}) == len(ARCHITECTURES)


def test_the_same_before_and_after_generate() -> None:
    lm = tiny_model("gpt2")
    lm.generate("a", max_new_tokens=2)
    assert fingerprint(lm.resident.model) == lm.resident.fingerprint


def test_narrow_storage_read_in_wide_numbers() -> None:
    model = fresh_tiny_model("llama").resident.model
    for narrow in (torch.bfloat16, torch.float16):
        stored = fingerprint(model.to(narrow))
        assert fingerprint(model.to(torch.float32)) == stored
        assert fingerprint(model.to(torch.float64)) == stored


def test_one_value_one_name_one_shape() -> None:
    model = nn.Linear(8, 4)
    first = fingerprint(model)
    assert len(first) == 16
    for index in ((0, 0), (3, 7), (2, 1)):
        changed = nn.Linear(8, 4)
        changed.load_state_dict(model.state_dict())
        assert fingerprint(changed) == first
        with torch.no_grad():
            changed.weight[index] += 1
        assert fingerprint(changed) != first
    renamed = nn.Sequential(model)
    assert fingerprint(renamed) != first


def test_tensors_whose_size_float32_can_not_count() -> None:
    model = nn.Module()
    model.weight = nn.Parameter(torch.zeros(1).expand(2**24 + 4), requires_grad=False)
    model.empty = nn.Parameter(torch.zeros(0))
    model.meta = nn.Parameter(torch.zeros(3, device="meta"))
    assert len(fingerprint(model)) == 16
