"""What a meter is, what it is made for, and how its values before and after become a change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dipole.concepts import Dipole
from dipole.effects import Change, Interval
from dipole.evaluation.statistics import (
    Resampling,
    interval,
    mean_interval,
    quotient,
    quotient_difference,
    share_interval,
)
from dipole.protocols import LM, Recognizer
from dipole.types import Sample, Score, UserError, scored_text

Array = NDArray[np.float64]
Direction = Literal["higher", "lower", "none"]


@runtime_checkable
class Meter(Protocol):
    """One quantity of completions.

    Attributes:
        name: Machine name, such as `claim_share`.
        label: The same for a reader.
        unit: `share` where the values are hits and misses, 1 and 0; else any other word, or nothing.
        direction: `higher` where more is nearer to the claim, `lower` where less is better, or `none`.
        in_loop: Whether the control optimised it.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def label(self) -> str: ...  # noqa: D102
    @property
    def unit(self) -> str: ...  # noqa: D102
    @property
    def direction(self) -> Direction: ...  # noqa: D102
    @property
    def in_loop(self) -> bool: ...  # noqa: D102

    def measure(self, lm: LM, samples: Sequence[Sample]) -> ArrayLike:
        """A value of each sample, in their order; NaN where there is none.

        For a quotient that is pooled over samples, `(samples, 2)`: what is summed above and below the line.

        Args:
            lm: The LM that wrote the samples.
            samples: Its completions.
        """
        ...


@dataclass(frozen=True, eq=False)
class Judge:
    """A recognizer that reads each text once: under common random numbers many are the same.

    Attributes:
        recognizer: Scores prompts with their completions.
        in_loop: Whether the control optimised it.
    """

    recognizer: Recognizer
    in_loop: bool = False
    _known: dict[tuple[str, str, str], Score] = field(default_factory=dict)

    def score(self, samples: Sequence[Sample], dipole: Dipole) -> list[Score]:
        """One score a sample; only new texts are read."""
        keys = [(dipole.claim, dipole.against, scored_text(sample)) for sample in samples]
        new = list(dict.fromkeys(key for key in keys if key not in self._known))
        found = self.recognizer.score([text for _, _, text in new], dipole) if new else []
        self._known.update(zip(new, found, strict=True))
        return [self._known[key] for key in keys]


@dataclass(frozen=True, eq=False)
class Subject:
    """What meters are made for.

    Attributes:
        lm: The LM before, which the others are held against.
        dipole: What is wanted.
        samples: Completions of the LM before.
        judges: Recognizers that score completions.
        optimised: Names of the recognizers that the control optimised.
        strength: Of the control; its sign says where it should push.
        batch_size: Rows a forward.
    """

    lm: LM
    dipole: Dipole
    samples: Sequence[Sample] = ()
    judges: tuple[Judge, ...] = ()
    optimised: frozenset[str] = frozenset()
    strength: float = 1.0
    batch_size: int = 64

    def under(self, optimised: Iterable[str], strength: float) -> Subject:
        """The same for a control that optimised these recognizers, at this strength."""
        names = frozenset(optimised)
        judges = tuple(replace(judge, in_loop=judge.recognizer.name in names) for judge in self.judges)
        return replace(self, judges=judges, optimised=names, strength=strength)


Family = Callable[[Subject], Iterable[Meter]]
"""What `registry.METERS` and the entry points `dipole.meters` name."""
Pair = Callable[[Meter, NDArray[Any], NDArray[Any], Resampling], Change | None]
"""From a meter, its values before and after, and the resamples to the change."""


def paired(meter: Meter, before: Array, after: Array, plan: Resampling) -> Change:
    """Mean or pooled quotient of both, and its paired difference.

    Pairs of which either has no value are left out and counted.
    """
    lost = _lacking(before) | _lacking(after)
    if before.ndim == 2:
        columns = np.where(lost[:, None], 0.0, np.concatenate([before, after], axis=1))
        parts = (
            interval(columns[:, :2], quotient, plan),
            interval(columns[:, 2:], quotient, plan),
            interval(columns, quotient_difference, plan),
        )
    else:
        old, new = np.where(lost, math.nan, before), np.where(lost, math.nan, after)
        parts = level(meter, old, plan), level(meter, new, plan), mean_interval(new - old, plan)
    return made(meter, *parts, n=int((~lost).sum()), unscored=int(lost.sum()))


def after_only(meter: Meter, before: Array, after: Array, plan: Resampling) -> Change:
    """The same of what is only defined against the LM before, such as a distance from it."""
    del before
    lost = _lacking(after)
    return made(meter, None, level(meter, after, plan), None, n=int((~lost).sum()), unscored=int(lost.sum()))


def level(meter: Meter, values: Array, plan: Resampling) -> Interval:
    """Mean, share or pooled quotient."""
    if values.ndim == 2:
        return interval(np.where(_lacking(values)[:, None], 0.0, values), quotient, plan)
    return share_interval(values, plan) if meter.unit == "share" else mean_interval(values, plan)


def _lacking(values: Array) -> NDArray[np.bool_]:
    return np.asarray(np.isnan(values).reshape(len(values), -1).any(axis=1), dtype=np.bool_)


def made(
    meter: Meter,
    before: Interval | None,
    after: Interval,
    difference: Interval | None,
    n: int,
    unscored: int = 0,
) -> Change:
    """The change of a meter's quantity."""
    return Change(meter.name, meter.label, meter.unit, before, after, difference, meter.in_loop, n, unscored)


@dataclass(frozen=True)
class Quantity:
    """A meter made of a function.

    Attributes:
        name: As in `Meter`, like the next three.
        label: For a reader.
        unit: Its unit.
        direction: Where it should go.
        reading: What `measure` does.
        in_loop: Whether the control optimised it.
        pair: From the quantity, both values and the resamples to the change, or None where it can't be said.
            Another than `paired` may take values of any kind.
    """

    name: str
    label: str
    unit: str
    direction: Direction
    reading: Callable[[LM, Sequence[Sample]], ArrayLike]
    in_loop: bool = False
    pair: Pair = paired

    def measure(self, lm: LM, samples: Sequence[Sample]) -> ArrayLike:
        """The values of `reading`."""
        return self.reading(lm, samples)


def values_of(meter: Meter, lm: LM, samples: Sequence[Sample]) -> NDArray[Any]:
    """What a meter measures, checked.

    Raises:
        UserError: It is not one value a sample.
    """
    values = np.asarray(meter.measure(lm, samples))
    if values.dtype.kind in "bui":
        values = values.astype(np.float64)
    right = values.shape in ((len(samples),), (len(samples), 2))
    if not right or (values.dtype.kind != "f" and _pair(meter) is paired):
        raise UserError(
            f"The meter {meter.name!r} must give a number for each of {len(samples)} samples (or two, for a "
            f"quotient), and gave an array of shape {values.shape} and type {values.dtype}; correct its "
            "`measure`."
        )
    return values


def change_of(meter: Meter, before: NDArray[Any], after: NDArray[Any], plan: Resampling) -> Change | None:
    """What became of a quantity; None where that can't be said."""
    return _pair(meter)(meter, before, after, plan)


def _pair(meter: Meter) -> Pair:
    return meter.pair if isinstance(meter, Quantity) else paired
