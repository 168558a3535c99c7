"""Passes over rows whose loss is a sum over tokens that each may have a weight of their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dipole.controls.weights.loop import Place, Stop
from dipole.controls.weights.passes import Minibatch, one_pass
from dipole.controls.weights.step import parts
from dipole.protocols import Metrics


class OverRows(ABC):
    """State of a run between passes over its rows; follows the loop's `Rounds` protocol."""

    def __init__(
        self,
        control: Any,
        sizes: Sequence[float],
        place: Place,
        rate: float,
        stepped: Callable[[], None] | None = None,
    ) -> None:
        """Set up the optimiser.

        Args:
            control: Has `rounds`, `batch_size`, `micro_batch_size`, `warmup`, `max_grad_norm` and `seed`.
            sizes: What each row counts in the mean: its tokens that are learned.
            place: Where it trains.
            rate: Highest learning rate.
            stepped: Called after each step.
        """
        self._stepped = stepped
        self._control, self._sizes, self._place, self._rate = control, sizes, place, rate
        self.parameters: Mapping[str, torch.nn.Parameter] = self.trained()
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(list(self.parameters.values()))

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """All that is trained, by name: the adapter."""
        return {name: p for name, p in self._place.model.named_parameters() if p.requires_grad}

    @abstractmethod
    def loss(self, part: Sequence[int]) -> Tensor:
        """The loss of some rows, summed over their tokens and not divided by anything."""

    def numbers(self) -> dict[str, float]:
        """Nothing but tensors and the number of the round makes up the state."""
        return {}

    def restore(self, numbers: Mapping[str, float]) -> None:  # noqa: B027 - the same for all
        """Nothing to take back."""

    def stop(self, history: list[Metrics]) -> Stop | None:  # noqa: B027 - the same for all
        """It goes on to the last round."""

    def round(self, index: int) -> Metrics:
        """Pass over the rows once, in an order of its own."""
        learned = torch.zeros(1, device=self._place.lm.resident.device)
        accelerator, tokens = self._place.accelerator, sum(self._sizes)

        def losses(batch: Minibatch) -> Iterator[Tensor]:
            return self._losses(batch.rows, learned)

        done = one_pass(
            self._control,
            index,
            len(self._sizes),
            self._rate,
            self.optimizer,
            accelerator,
            losses,
            self._stepped,
        )
        return {"loss": accelerator.reduce(learned, "sum").item() / tokens, **done, "tokens": float(tokens)}

    def _losses(self, batch: Sequence[int], learned: Tensor) -> Iterator[Tensor]:
        """This process's parts of a minibatch's mean loss; their sums are added to `learned`."""
        count = sum(self._sizes[row] for row in batch)
        for part in parts(batch, self._control.micro_batch_size, self._place.accelerator):
            loss = self.loss(part)
            learned += loss.detach()
            yield loss / count
