"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from dipole.lm import LM
from dipole.models import load

REPOSITORY = Path(__file__).resolve().parent.parent

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


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
