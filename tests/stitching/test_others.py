"""Partners from other documents: whose they are, that chunks do not matter, and that memory is bounded."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dipole.stitching.others import Others

SIZES = (3, 5, 2, 7, 4, 6)


def stream(sizes: tuple[int, ...] = SIZES) -> tuple[Tensor, Tensor]:
    """Documents, and rows of two layers that say which document and row they are."""
    documents = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    number = torch.arange(len(documents))
    first = torch.stack([documents, number], dim=1).float()
    return documents, torch.stack([first, first + 1000.0])


def partners(others: Others, chunks: list[int], draws: int) -> Tensor:
    """Partners of all rows, `(draws, layers, rows, 2)`, with so many documents at once."""
    documents, rows = stream()
    found, start = [], 0
    for number in chunks:
        mine = (documents >= start) & (documents < start + number)
        start += number
        picked = others.pick(documents[mine], rows[:, mine])
        found.append(
            torch.stack([torch.stack([picked.of(layer, k) for layer in (0, 1)]) for k in range(draws)])
        )
    return torch.cat(found, dim=2)


def test_partners_are_of_earlier_documents_and_the_same_at_all_layers() -> None:
    documents, _ = stream()
    made = partners(Others(3, seed=1), [6], 3)
    of = made[:, 0, :, 0]
    late = documents > 0
    assert bool((of[:, late] < documents[late]).all())
    assert bool((of[:, ~late] == 1).all())  # the first has none before it
    assert torch.equal(made[:, 1], made[:, 0] + 1000.0)
    assert not torch.equal(made[0], made[1])
    assert len(made[0, 0, documents == 5].unique(dim=0)) > 1


@pytest.mark.parametrize("room", [4, 9, None])
def test_partners_do_not_depend_on_how_many_documents_come_at_once(room: int | None) -> None:
    one = partners(Others(2, 7, room), [6], 2)
    for chunks in ([2, 1, 1, 1, 1], [3, 3], [2, 4]):
        assert torch.equal(partners(Others(2, 7, room), chunks, 2), one)
    assert not torch.equal(partners(Others(2, 8, room), [6], 2), one)


def test_the_sample_is_uniform_over_all_rows_and_no_larger_than_it_may_be() -> None:
    counts = torch.zeros(200)
    for seed in range(150):
        others = Others(1, seed, room=20)
        for document in range(20):
            rows = (document * 10 + torch.arange(10.0))[None, :, None]
            others.pick(torch.full((10,), document), rows)
        assert others.kept is not None
        kept = others.kept[0, :, 0].long()
        assert len(kept.unique()) == 20  # no row twice
        counts[kept] += 1
    wanted = 150 * 20 / 200
    spread = (wanted * 0.9) ** 0.5
    assert float((counts - wanted).abs().max()) < 5 * spread
    assert abs(float(counts[:100].mean()) - wanted) < 4 * spread / 10


def test_wide_rows_are_fewer() -> None:
    others = Others(1, 0)
    others.pick(torch.zeros(2), torch.zeros(3, 2, 1 << 14))
    assert others.room == 682
    narrow = Others(1, 0)
    narrow.pick(torch.zeros(2), torch.zeros(1, 2, 8))
    assert narrow.room == 4096


def test_a_document_alone_is_shuffled_in_itself() -> None:
    others = Others(1, 0)
    alone = torch.zeros(4)
    assert not others.ready(alone)
    assert others.ready(torch.tensor([0, 1]))
    made = others.pick(alone, torch.arange(4.0)[None, :, None]).of(0, 0)
    assert set(made[:, 0].tolist()) <= {0.0, 1.0, 2.0, 3.0}
    assert others.ready(alone)
