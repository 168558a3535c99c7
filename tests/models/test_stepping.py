"""Growing rows over a cache against whole forwards."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from architectures import names, tiny_model, with_real
from dipole.decoding.stepping import Grouped, Stepper, steps
from families import fresh_family
from reference import generation as slow
from tolerance import BATCHED_LOGITS, deep

ROWS = [list(range(5, 16)), [9], list(range(5, 16)), [20, 21, 22]]
TOKENS = [[31, 32, 33, 34], [40, 41, 42, 43], [50, 51, 52, 53], [60, 61, 62, 63], [70, 71, 72, 73]]


def _agree(model: object, got: Tensor, ids: Sequence[Sequence[int]], name: str = "") -> None:
    want = torch.stack([slow.next_logits(model, row) for row in ids])
    torch.testing.assert_close(got, want, atol=2 * deep(BATCHED_LOGITS, name), rtol=BATCHED_LOGITS)


@torch.no_grad()
@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("name", with_real(names()))
def test_steps_equal_whole_forwards(name: str, cached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    resident = tiny_model(name).resident
    if not cached:
        monkeypatch.setitem(vars(resident.probe), "caches", "no")
    stepper = steps(resident, resident.model, ROWS)
    assert isinstance(stepper, Stepper)
    ids = [list(row) for row in ROWS]
    _agree(resident.model, stepper.start(), ids, name)
    for step, tokens in enumerate(TOKENS):
        if step == 2:  # the second leaves, the others change places, one doubles
            order = [3, 0, 0, 2]
            stepper.keep(torch.tensor(order))
            ids = [list(ids[k]) for k in order]
        ids = [[*row, token] for row, token in zip(ids, tokens, strict=True)]
        _agree(resident.model, stepper.advance(torch.tensor(tokens)), ids, name)
    assert (stepper.cache is not None) == cached


@torch.no_grad()
def test_equal_rows_are_read_once() -> None:
    resident = tiny_model("llama").resident
    read: list[int] = []
    handle = resident.model.get_input_embeddings().register_forward_hook(
        lambda _m, args, _o: read.append(args[0].shape[0])
    )
    stepper = steps(resident, resident.model, [[5, 6], [7], [5, 6], [5, 6]])
    logits = stepper.start()
    stepper.advance(torch.tensor([1, 2, 3, 4]))
    handle.remove()
    assert read == [2, 4]
    assert torch.equal(logits[0], logits[2])


@torch.no_grad()
@pytest.mark.parametrize(("name", "caches"), [("bart", "even"), ("recurrent_gemma", "no")])
def test_rows_that_must_not_be_padded_are_grouped_by_length(name: str, caches: str) -> None:
    resident, fresh = (fresh_family(name).resident for _ in range(2))
    rows = [[20, 21, 22], list(range(5, 16)), [9], [30, 31, 32], [20, 21, 22]]
    read: list[tuple[int, ...]] = []
    stepper = steps(resident, resident.model, rows)
    assert isinstance(stepper, Grouped)
    assert resident.probe.caches == caches
    resident.model.get_input_embeddings().register_forward_hook(
        lambda _m, args, _o: read.append(tuple(args[0].shape))
    )
    ids = [list(row) for row in rows]
    _agree(fresh.model, stepper.start(), ids)
    assert read == [(2, 3), (1, 11), (1, 1)]
    fork = stepper.fork(torch.tensor([4, 2, 2]))
    taken = torch.tensor([40, 41, 42, 43, 44])
    ids = [[*row, token] for row, token in zip(ids, taken.tolist(), strict=True)]
    _agree(fresh.model, stepper.advance(taken), ids)
    _agree(fresh.model, fork.advance(taken[:3]), [[*rows[4], 40], [*rows[2], 41], [*rows[2], 42]])
    order = [3, 1, 4]  # a group is left by all of its rows, another one by some
    stepper.keep(torch.tensor(order))
    ids = [[*ids[k], 50] for k in order]
    read.clear()
    _agree(fresh.model, stepper.advance(torch.tensor([50, 50, 50])), ids)
    assert len(read) == 2
    assert (stepper.row_bytes() > 0) == (caches == "even")


@torch.no_grad()
def test_rows_of_one_length_need_no_groups() -> None:
    resident = fresh_family("recurrent_gemma").resident
    stepper = steps(resident, resident.model, [[5, 6, 7], [8, 9, 10]])
    assert isinstance(stepper, Stepper)
    _agree(fresh_family("recurrent_gemma").resident.model, stepper.start(), [[5, 6, 7], [8, 9, 10]])
