"""What every control that trains an adapter lets its user set."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from dipole.interventions.weights import Adapter
from dipole.protocols import LM, JudgedBy, Run
from dipole.types import Surface, UserError


@dataclass(frozen=True, kw_only=True)
class Trained(ABC):
    """A control that trains an adapter; a subclass says in its fields how long it trains and on what.

    Attributes:
        lora_rank: Rank of the adapter.
        lora_alpha: The adapter is scaled by alpha over rank.
        target_modules: Linear layers that get an adapter, comma separated, or `all-linear`.
        live_blocks: Decoder blocks from the top that get one (as in Hydra, Havrilla 2023); 0 is all. What is
            below keeps nothing for the backward pass, so fewer blocks take less memory and time.
        seed: Seed of the adapter's first weights and of all that is drawn.
    """

    lora_rank: int = 8
    lora_alpha: float = 16.0
    target_modules: str = "all-linear"
    live_blocks: int = 0
    seed: int = 0

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "weights"
    makes: ClassVar[type[Adapter]] = Adapter
    graded: ClassVar[bool] = True
    optional_concept: ClassVar[bool] = False
    paper: ClassVar[str]

    @property
    @abstractmethod
    def rounds(self) -> int:
        """Rounds of training."""

    @property
    @abstractmethod
    def batch_size(self) -> int:
        """Texts that a round or a step wants, over all processes."""

    @property
    @abstractmethod
    def max_new_tokens(self) -> int:
        """Token budget of a completion, where it is measured too."""

    @property
    @abstractmethod
    def judged_by(self) -> JudgedBy:
        """Recognizers that have a say."""

    @abstractmethod
    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Adapter:
        """Train the adapter; see `dipole.protocols.Control`."""


def require(control: Any, words: str, holds: Callable[[float], bool], *names: str) -> None:
    """Refuse fields that mean nothing.

    Args:
        control: Whose fields they are.
        words: What each must be, as in `lr must be WORDS`.
        holds: Whether a value is; NaN holds nowhere.
        names: The fields.

    Raises:
        UserError: One is not.
    """
    for name in names:
        value = getattr(control, name)
        if not holds(value):
            raise UserError(f"{name} must be {words}, and is {value}.")


def rate_for(lr: float | None, best: float, width: int) -> float:
    """Learning rate of a model.

    The default falls with the square root of the model's width. A step of Adam is as large for every weight,
    so what a layer gives changes with the number of its inputs where steps agree (width, Yang et al. 2022,
    table 3) and with its root where they do not; between the two the measured ones lie at 192 and 576.

    Args:
        lr: What the user set; None takes the default.
        best: The default at width 192.
        width: Width of the residual stream.
    """
    return best * min(1.0, math.sqrt(192 / width)) if lr is None else lr
