"""What a fit sums, against moments that are summed one by one."""

from __future__ import annotations

import torch

from dipole.stitching.reading import Rows
from dipole.stitching.ridge import Moments
from dipole.stitching.sums import SHUFFLES, Sums
from tolerance import MOMENTS


def chunk(part: str, documents: list[int], seed: int, layers: int = 2) -> Rows:
    generator = torch.Generator().manual_seed(seed)
    n = len(documents)
    x, y = torch.randn(1, n, 5, generator=generator), torch.randn(layers, n, 3, generator=generator)
    relaxed = torch.rand(n, generator=generator) < 0.3
    return Rows(part, x, y, relaxed, torch.tensor(documents))  # type: ignore[arg-type]


CHUNKS = [
    chunk("fit", [0] * 6, 1),
    chunk("test", [1] * 9, 2),
    chunk("fit", [2] * 4 + [3] * 8, 3),
    chunk("choose", [4] * 7, 4),
    chunk("fit", [5] * 10, 5),
]


def summed(relaxed: bool = True) -> Sums:
    sums = Sums(2, relaxed, seed=3)
    for rows in CHUNKS:
        sums.add(rows, rows.source[0, :, 0].abs())
    sums.finish()
    return sums


def test_each_part_is_summed_as_alone() -> None:
    sums = summed()
    assert sums.exact is not None
    for part in ("fit", "choose", "test"):
        for layer in (0, 1):
            every, exact = Moments(), Moments()
            for rows in (rows for rows in CHUNKS if rows.part == part):
                x, y, keep = rows.source[0], rows.target[layer], ~rows.relaxed
                every.add(x, y, x[:, 0].abs())
                exact.add(x[keep], y[keep], x[keep, 0].abs())
            for own, wanted in ((sums.parts, every), (sums.exact, exact)):
                made = own[part][layer]
                assert made.n == wanted.n
                for name in ("xx", "xy", "yy", "mean_x", "mean_y"):
                    torch.testing.assert_close(
                        getattr(made, name), getattr(wanted, name), atol=MOMENTS, rtol=MOMENTS
                    )


def test_x_is_multiplied_with_itself_once_for_all_layers_and_shuffles() -> None:
    for relaxed, wanted in ((False, 3), (True, 6)):
        sums = summed(relaxed)
        every = [m for part in sums.parts.values() for m in part] + [m for k in sums.broken for m in k]
        if sums.exact is not None:
            every += [m for part in sums.exact.values() for m in part]
        assert len({m.xx.data_ptr() for m in every}) == wanted
        assert len({m.xy.data_ptr() for m in every}) == len(every)


def test_shuffled_pairs_have_the_same_x_and_the_rows_of_other_documents() -> None:
    sums = summed()
    fit = [rows for rows in CHUNKS if rows.part == "fit"]
    for layer, broken in enumerate(sums.broken):
        known = torch.cat([rows.target[layer] for rows in fit])
        for moments in broken:
            assert moments.n == sums.parts["fit"][layer].n == len(known)
            assert bool((moments.mean_y >= known.min(0).values).all())
            assert bool((moments.mean_y <= known.max(0).values).all())
            assert not torch.equal(moments.xy, sums.parts["fit"][layer].xy)
    assert len(sums.broken[0]) == SHUFFLES


def test_a_first_document_alone_is_counted_in_the_end() -> None:
    sums = Sums(2, False, 0)
    sums.add(CHUNKS[0], None)
    assert sums.parts["fit"][0].n == 0
    sums.finish()
    assert sums.parts["fit"][0].n == sums.broken[1][0].n == 6
    sums.finish()
    assert sums.parts["fit"][0].n == 6
