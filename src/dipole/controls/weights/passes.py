"""Rounds that pass over texts: minibatches, the anchor, what the base makes of them, what is measured."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from dipole.controls.weights.anchor import Anchor, Anchored, divergence
from dipole.controls.weights.lessons import Unit
from dipole.controls.weights.loop import Place, Stop
from dipole.controls.weights.policy import Policy
from dipole.controls.weights.rollout import Rows, gather, share, to_rows
from dipole.controls.weights.settings import rate_for
from dipole.controls.weights.step import micro, parts, rows_within, set_rate, shuffled, take_step
from dipole.protocols import Metrics
from dipole.types import sample_seed

_ANCHOR = "anchor_kl"


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate: up in a line over the first steps, then down in a line to nearly 0.

    Args:
        step: Number of the step, from 0.
        steps: Steps of the whole run.
        warmup: Share of them in which the rate rises.
    """
    rising = math.ceil(warmup * steps)
    return (step + 1) / rising if step < rising else (steps - step) / (steps - rising)


class Paced(Protocol):
    """What a control says of the steps of a pass."""

    @property
    def rounds(self) -> int: ...  # noqa: D102
    @property
    def batch_size(self) -> int: ...  # noqa: D102
    @property
    def micro_batch_size(self) -> int: ...  # noqa: D102
    @property
    def warmup(self) -> float: ...  # noqa: D102
    @property
    def max_grad_norm(self) -> float: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


class Settings(Paced, Protocol):
    """What a control says of its passes; see `Learner`."""

    best_lr: ClassVar[float]

    @property
    def max_new_tokens(self) -> int: ...  # noqa: D102
    @property
    def lr(self) -> float | None: ...  # noqa: D102
    @property
    def anchor_coef(self) -> float: ...  # noqa: D102
    @property
    def anchor_size(self) -> int: ...  # noqa: D102
    @property
    def live_blocks(self) -> int: ...  # noqa: D102


class Minibatch(NamedTuple):
    """The rows of one optimiser step.

    Attributes:
        rows: Their numbers, over all processes.
        number: Of the step in the whole run, from 0.
        of: Steps a pass.
    """

    rows: list[int]
    number: int
    of: int


def one_pass(
    control: Paced,
    index: int,
    total: int,
    rate: float,
    optimizer: torch.optim.Optimizer,
    accelerator: Any,
    losses: Callable[[Minibatch], Iterable[Tensor]],
    stepped: Callable[[], None] | None = None,
) -> Metrics:
    """Step through all rows once, in an order of the pass's own; a gradient that is not finite ends it.

    Args:
        control: How large steps are, and how many passes there will be.
        index: Number of the pass, from 0.
        total: How many rows there are.
        rate: Highest learning rate.
        optimizer: Steps.
        accelerator: By which processes share the work.
        losses: This process's parts of a minibatch's loss.
        stepped: Called after each step.

    Returns:
        Norm of the last gradient, the last learning rate, and how many texts there were.
    """
    order, size = shuffled(total, sample_seed(control.seed, 1, index)), control.batch_size
    batches = [order[start : start + size] for start in range(0, total, size)]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    now = norm = 0.0
    for number, batch in enumerate(batches, index * len(batches)):
        now = rate * schedule(number, len(batches) * control.rounds, control.warmup)
        set_rate(optimizer, now)
        parts_of = losses(Minibatch(batch, number, len(batches)))
        norm = take_step(optimizer, parameters, parts_of, control.max_grad_norm, accelerator)
        if not math.isfinite(norm):
            break
        if stepped is not None:
            stepped()
    return {"grad_norm": norm, "lr": now, "texts": float(total)}


class Passes(ABC):
    """State of a run between passes over texts; follows the loop's `Rounds` protocol.

    Attributes:
        learned: How many lessons of a unit, from the first on, are read with a gradient.
        referred: Whether what the base makes of the lessons is wanted.
        measures: What `learn` measures.
        units: What is learned from.
        reference: `(units, lessons)` log-likelihood of each lesson under the base, nats; 0 where not wanted.
    """

    learned: ClassVar[int] = 1
    referred: ClassVar[bool] = True
    measures: ClassVar[tuple[str, ...]] = ("loss",)

    def __init__(
        self, learner: Settings, place: Place, units: Sequence[Unit], reference: Tensor | None = None
    ) -> None:
        """Set up policy and optimiser, and read the texts with the base.

        Args:
            learner: The control.
            place: Where it trains.
            units: What it learns from.
            reference: What the base makes of them, where that is known already.
        """
        self._learner = learner
        self._lm, self._wrapped, self._accelerator, _ = place
        self._policy = Policy(self._lm, self._wrapped, critic=False)
        self.parameters: Mapping[str, torch.nn.Parameter] = {
            name: p for name, p in self._wrapped.named_parameters() if p.requires_grad
        }
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(list(self.parameters.values()))
        self._rate = rate_for(learner.lr, learner.best_lr, self._lm.resident.width)
        self.units = units
        texts = [lesson.ids for unit in units for lesson in unit]
        longest = max(len(text.prompt_ids) + len(text.token_ids) for text in texts)
        self._most = learner.micro_batch_size or rows_within(self._lm.resident, longest, learner.live_blocks)
        self._anchor = None
        with self._wrapped.disable_adapter():
            if learner.anchor_coef:
                most, size = learner.max_new_tokens, learner.anchor_size
                self._anchor = Anchor(self._lm, size, most, learner.seed)
            self.reference = self._references() if reference is None else reference

    @abstractmethod
    def learn(
        self, batch: Sequence[int], part: Sequence[int], said: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """This part's share of a minibatch's mean loss, and of what a round measures.

        Args:
            batch: Numbers of all units of the minibatch.
            part: Those of the units that were read.
            said: `(units, learned)` log-likelihood of each lesson, nats.
        """

    def before(self, batch: Sequence[int]) -> None:
        """What must be known of a minibatch before it is learned; nothing as a rule."""
        del batch

    def numbers(self) -> dict[str, float]:
        """Nothing but tensors and the number of the round makes up the state."""
        return {}

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Nothing to take back."""
        del numbers

    def stop(self, history: list[Metrics]) -> Stop | None:
        """It goes on to the last round."""
        del history
        return None

    def round(self, index: int) -> Metrics:
        """Pass over the texts once, in an order of its own."""
        names = (*self.measures, *(() if self._anchor is None else (_ANCHOR,)))
        sums = dict.fromkeys(names, torch.zeros((), device=self._lm.resident.device))

        def losses(batch: Minibatch) -> Iterator[Tensor]:
            self.before(batch.rows)
            return self._losses(batch.rows, self._anchored(batch.number), sums, batch.of)

        done = one_pass(
            self._learner, index, len(self.units), self._rate, self.optimizer, self._accelerator, losses
        )
        return {**self._summed(sums), **done}

    def _anchored(self, number: int) -> Anchored | None:
        if self._anchor is None:
            return None
        with self._wrapped.disable_adapter(), torch.no_grad():
            return self._anchor.of(number, self._policy, self._accelerator)

    def _losses(
        self, batch: Sequence[int], anchored: Anchored | None, sums: dict[str, Tensor], batches: int
    ) -> Iterator[Tensor]:
        """This process's parts of a minibatch's loss; what they measure is added to `sums`."""
        for some in () if anchored is None else anchored.parts(self._most):
            pulled = divergence(self._policy, some)
            _add(sums, {_ANCHOR: pulled / batches})
            yield self._learner.anchor_coef * pulled
        for part in self.parts(batch, self.learned):
            loss, measured = self.learn(batch, part, self.said(part, range(self.learned)))
            _add(sums, measured)
            yield loss

    def parts(self, batch: Sequence[int], lessons: int) -> list[list[int]]:
        """The units of a minibatch that this process reads, cut into forwards of so many lessons a unit."""
        return parts(batch, max(1, self._most // lessons), self._accelerator)

    def said(self, part: Sequence[int], which: Sequence[int]) -> Tensor:
        """Log-likelihood `(units, lessons)` in nats of some lessons of units, by the policy as it is."""
        rows = self.rows(part, which)
        logprobs: Tensor = self._policy(rows).logprobs
        return logprobs.sum(1).view(len(part), len(which))

    def rows(self, part: Sequence[int], which: Sequence[int]) -> Rows:
        """The lessons as tensors, those of a unit next to each other."""
        texts = [self.units[number][k].ids for number in part for k in which]
        return to_rows(texts, self._lm.resident.pad_id, self._lm.resident.device)

    @torch.no_grad()
    def _references(self) -> Tensor:
        """What the base says of every lesson, `(units, lessons)` log-likelihoods in nats."""
        width = len(self.units[0])
        if not self.referred:
            return torch.zeros(len(self.units), width)
        mine = share(len(self.units), self._accelerator)
        size = micro(len(mine), max(1, self._most // width))
        chunks = [mine[start : start + size] for start in range(0, len(mine), size)]
        found = [self.said(part, range(width)).cpu() for part in chunks]
        return torch.stack(gather(list(torch.cat(found)) if found else [], mine, self._accelerator))

    def _summed(self, sums: Mapping[str, Tensor]) -> Metrics:
        """Sums over all processes."""
        total = self._accelerator.reduce(torch.stack(list(sums.values())), "sum")
        return dict(zip(sums, total.tolist(), strict=True))


def _add(sums: dict[str, Tensor], measured: Mapping[str, Tensor]) -> None:
    for name, value in measured.items():
        sums[name] = sums[name] + value.detach()
