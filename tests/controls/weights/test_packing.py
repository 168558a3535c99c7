"""Rows that share a prompt against each row alone, without padding, mask or sharing."""

from __future__ import annotations

import pytest
import torch

from architectures import fresh_tiny_model, names, tiny_model
from controls.weights.small import small, started
from dipole.controls.weights.head import Base
from dipole.controls.weights.packing import additive_mask, pack
from dipole.controls.weights.policy import Policy
from dipole.controls.weights.rollout import Rows, to_rows
from dipole.recognizers.likelihood import packed_width
from dipole.types import Sample
from reference import generation as slow
from tolerance import BATCHED_LOGITS

PROMPTS = [(5, 6, 7, 8, 9, 10, 11, 12), (20, 21, 22, 23, 24, 25, 26, 27, 28, 29)]
RESPONSES = [(30, 31, 32), (40,), (50, 51, 52, 53), (60, 61), (70, 71, 72)]
OWNERS = [0, 1, 0, 0, 1]


def rows(responses: list[tuple[int, ...]] | None = None) -> Rows:
    samples = [
        Sample("", "", PROMPTS[o], r, tuple(0.0 for _ in r), 0, "length")
        for o, r in zip(OWNERS, responses or RESPONSES, strict=True)
    ]
    return to_rows(samples, 0, torch.device("cpu"))


def packing(name: str) -> bool:
    return packed_width(tiny_model(name)) > 0


def test_some_architectures_pack_and_some_can_not() -> None:
    found = {name: packing(name) for name in names()}
    assert found["gpt2"]
    assert found["llama"]
    assert not found["bloom"]


@torch.no_grad()
@pytest.mark.parametrize("widest", [512, 14, 16])
@pytest.mark.parametrize("name", [n for n in names() if packing(n)])
def test_packed_rows_read_as_each_row_alone(name: str, widest: int) -> None:
    lm = tiny_model(name)
    mine = rows()
    layout = pack(mine, 0, torch.float32, widest)
    if layout is None:
        assert widest < 16
        return
    logits = lm.resident.model(**layout.inputs, use_cache=False).logits[:, -layout.keep :]
    logprobs = logits.log_softmax(-1)[layout.sequence, layout.column]
    found = logprobs.gather(-1, mine.targets[..., None]).squeeze(-1)
    for i, response in enumerate(RESPONSES):
        want = slow.logprobs(lm.resident.model, PROMPTS[OWNERS[i]], response)
        got = found[i, mine.mask[i].bool()].tolist()
        assert got == pytest.approx(want, abs=BATCHED_LOGITS)


def test_a_prompt_is_read_once_and_last_tokens_are_not_read() -> None:
    layout = pack(rows(), 0, torch.float32, 512)
    assert layout is not None
    assert layout.inputs["input_ids"].tolist() == [
        [0, 0, 5, 6, 7, 8, 9, 10, 11, 12, 30, 31, 50, 51, 52, 60],
        [20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 70, 71, 0, 0, 0, 0],
    ]
    assert layout.inputs["position_ids"][0, -6:].tolist() == [8, 9, 8, 9, 10, 8]


def test_responses_are_dealt_over_sequences_that_are_narrow_enough() -> None:

    layout = pack(rows(), 0, torch.float32, 15)
    assert layout is not None
    assert layout.inputs["input_ids"].shape == (3, 13)


def test_rows_that_share_little_are_left_alone() -> None:
    samples = [
        Sample("", "", (k, k + 1), (5, 6, 7, 8), (0.0,) * 4, 0, "length") for k in (10, 10, 20, 30, 40, 50)
    ]
    assert pack(to_rows(samples, 0, torch.device("cpu")), 0, torch.float32, 512) is None


def test_the_mask_cell_by_cell() -> None:
    owner = torch.tensor([[-1, 0, 0, 1, 1, 2, -1]])
    mask = additive_mask(owner, torch.float32)[0, 0]
    owners = owner[0].tolist()
    for reader in range(7):
        for read in range(7):
            seen = read == reader or (
                read < reader and owners[reader] >= 0 and owners[read] in (0, owners[reader])
            )
            assert (mask[reader, read].item() == 0) == seen


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom"])
def test_the_policy_gives_the_same_packed_and_not(name: str) -> None:
    lm = fresh_tiny_model(name)
    with started(small(), lm, spread=0.1) as run:
        policy: Policy = run._policy
        packed = policy(rows(), entropy=True, base=Base(policy.read(rows()), 2.0))
        policy._width = 0
        alone = policy(rows(), entropy=True, base=Base(policy.read(rows()), 2.0))
    for one, other in zip(packed, alone, strict=True):
        torch.testing.assert_close(one, other, atol=BATCHED_LOGITS, rtol=BATCHED_LOGITS)
