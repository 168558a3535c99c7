"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import dipole.tensors
from architectures import REAL
from dipole.lm import LM
from dipole.models import load
from dipole.models.sources import PACKAGED
from misaligned import misaligned

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--misaligned", action="store_true", help="have the tensors of every file lie at 8 bytes past 64"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--misaligned"):
        plain = dipole.tensors._raw
        dipole.tensors._raw = lambda file, name: misaligned(plain(file, name))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The slow ones first, so that no worker is left with a minute of work when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("real") and PACKAGED[REAL].path is None:
        pytest.skip(f"the real model is not installed; {PACKAGED[REAL].command}")


@pytest.fixture
def heard() -> Iterator[None]:
    """Signals as a terminal sends them: whoever started the tests may ignore some (`nohup`, `&`)."""
    usual = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Material beside the checkout (foreign models, data), which a clone need not have."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the checkout")
    return folder


@pytest.fixture(scope="session")
def tiny() -> LM:
    """The bundled LM. An `LM` is a value, so tests may share it."""
    return load("tiny", device="cpu")


@pytest.fixture(scope="session")
def mini() -> LM:
    """The smaller bundled LM, with another tokenizer."""
    return load("mini", device="cpu")
