"""Edited artefacts are used or refused in one sentence: no traceback, no hang, nothing touched outside."""

from __future__ import annotations

from pathlib import Path

import pytest

from contracts.state import state
from dipole.interventions import KINDS
from dipole.recognizers.fitted import FITTED
from fuzz.artefacts import ARTEFACTS, copy_of, tables
from fuzz.watch import Bench

SEED = 11
PARTS = 10


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("fuzz") / "bench")


def test_every_kind_is_there() -> None:
    assert set(KINDS) <= set(ARTEFACTS)
    assert {"topics" if kind == "topic" else kind for kind in FITTED} <= set(ARTEFACTS)


@pytest.mark.parametrize("kind", sorted(ARTEFACTS))
def test_whole_artefacts_are_used(bench: Bench, kind: str, tmp_path: Path) -> None:
    assert bench.use(kind, copy_of(bench.place / "whole" / kind, tmp_path / "copy")) == ("", "")


@pytest.mark.parametrize("part", range(PARTS))
def test_300_edits(bench: Bench, part: int) -> None:
    _run(bench, range(part, 300, PARTS), SEED)


@pytest.mark.long
def test_4000_edits(bench: Bench) -> None:
    _run(bench, range(4000), SEED + 1)


def _run(bench: Bench, numbers: range, seed: int) -> None:
    before = {name: state(model) for name, model in tables().items()}
    found = [bench.run(number, seed) for number in numbers]
    assert [outcome for outcome in found if outcome.wrong] == []
    assert any(outcome.refused for outcome in found)
    assert {name: state(model) for name, model in tables().items()} == before
