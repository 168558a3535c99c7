"""The measuring machine: LMs continue the same prompts from the same random numbers, and meters read them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Change
from dipole.evaluation.meters.protocol import Family, Judge, Meter, Subject, change_of, values_of
from dipole.evaluation.statistics import Resampling, resampling
from dipole.protocols import LM, Recognizer
from dipole.registry import METERS, resolve
from dipole.types import Sample, UserError, sample_seed

TOWARDS, COSTS = ("sides", "truth", "recognizers"), ("likelihood", "variety", "length")
"""What is always measured: how far it went where it was wanted, the main quantity first; what it costs."""


@dataclass(frozen=True, eq=False)
class Read:
    """What meters read off the completions of one LM, or of one LM a repeat.

    Attributes:
        meters: Those that read.
        samples: Completions, repeat after repeat.
        values: Of each meter, one row a sample.
    """

    meters: tuple[Meter, ...]
    samples: tuple[Sample, ...]
    values: tuple[NDArray[Any], ...]

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The values of the first meter of that name."""
        return next(v for meter, v in zip(self.meters, self.values, strict=True) if meter.name == name)


@dataclass(frozen=True, eq=False)
class Bench:
    """What every LM is measured on, with the completions of the LM before.

    Attributes:
        subject: What the meters are made for.
        families: What makes them.
        prompts: Prompts to continue, one a row of one repeat.
        seeds: For each repeat the seeds of its rows.
        max_new_tokens: Token budget of a completion.
        plan: How rows are resampled.
        base: What the meters read off the LM before.
    """

    subject: Subject
    families: tuple[Family, ...]
    prompts: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    max_new_tokens: int
    plan: Resampling
    base: Read

    def read(self, lms: Sequence[LM], subject: Subject | None = None) -> Read:
        """Draw and measure.

        Args:
            lms: The LM of each repeat.
            subject: The bench's own, with what is known of the control; the bench's own if None.
        """
        rows = self.subject.batch_size
        drawn = [
            lm.sample(self.prompts, seeds, self.max_new_tokens, batch_size=rows)
            for lm, seeds in zip(lms, self.seeds, strict=True)
        ]
        return _read(made_for(self.families, subject or self.subject), lms, drawn)

    def changes(self, after: Read) -> list[Change]:
        """What became of every quantity, over pairs of completions from the same prompt and seed."""
        pairs = zip(after.meters, self.base.values, after.values, strict=True)
        made = (change_of(meter, old, new, self.plan) for meter, old, new in pairs)
        return [change for change in made if change is not None]


def make_bench(
    lm: LM,
    dipole: Dipole,
    texts: Sequence[str],
    families: Sequence[Family],
    judges: Sequence[Judge],
    n: int,
    seed: int,
    max_new_tokens: int,
    batch_size: int,
    repeats: int = 1,
    optimised: Iterable[str] = (),
) -> Bench:
    """Sample the LM before, once for all that it is compared with.

    Args:
        lm: The LM before.
        dipole: What is wanted.
        texts: Prompts to continue.
        families: What is measured.
        judges: Recognizers that score completions.
        n: Completions a repeat, spread over the prompts and at least one a prompt.
        seed: Seed of the first repeat and of the bootstrap.
        max_new_tokens: Token budget of a completion.
        batch_size: Rows a forward.
        repeats: How many.
        optimised: Names of recognizers that the control optimised.
    """
    rows = sorted((k % len(texts), k // len(texts)) for k in range(max(n, len(texts))))
    seeds = tuple(tuple(sample_seed(seed + r, i, k) for i, k in rows) for r in range(repeats))
    prompts = tuple(texts[i] for i, _ in rows)
    drawn = [lm.sample(prompts, own, max_new_tokens, batch_size=batch_size) for own in seeds]
    samples = tuple(sample for part in drawn for sample in part)
    subject = Subject(lm, dipole, samples, tuple(judges), frozenset(optimised), batch_size=batch_size)
    plan = resampling([i for _ in range(repeats) for i, _ in rows], seed)
    base = _read(made_for(families, subject), [lm] * repeats, drawn)
    return Bench(subject, tuple(families), prompts, seeds, max_new_tokens, plan, base)


def families_of(names: Iterable[str]) -> list[Family]:
    """The families of meters of these names.

    Raises:
        UserError: There is none of a name.
    """
    return [resolve(METERS, name) for name in names]


def sorted_out(meters: Iterable[Recognizer | Meter | str]) -> tuple[list[Judge], list[Family]]:
    """Recognizers as judges, and families of what else is measured beside `TOWARDS` and `COSTS`.

    Raises:
        UserError: There is no meter of a name.
    """
    judges: list[Judge] = []
    others: list[Family] = []
    for meter in meters:
        if isinstance(meter, str):
            others += families_of({meter}.difference(TOWARDS, COSTS))
        elif isinstance(meter, Recognizer):
            judges.append(Judge(meter))
        else:
            others.append(partial(_itself, meter))
    return judges, others


def _itself(meter: Meter, _: Subject) -> tuple[Meter]:
    return (meter,)


def made_for(families: Iterable[Family], subject: Subject) -> tuple[Meter, ...]:
    """All meters of some families.

    Raises:
        UserError: One of them is none.
    """
    made = tuple(meter for family in families for meter in family(subject))
    for meter in made:
        if not isinstance(meter, Meter):
            raise UserError(
                "A meter has name, label, unit, direction, in_loop and measure, and "
                f"{str(meter)[:99]!r} lacks some of them; see docs/meters.md."
            )
    return made


def prompts_of(dipole: Dipole, prompts: Sequence[str] | None = None) -> list[str]:
    """The prompts given, or the dipole's held-out ones, or else its prompts; each once.

    Raises:
        UserError: There are none.
    """
    if isinstance(prompts, str):
        prompts = [prompts]
    texts = list(dict.fromkeys((dipole.held_out or dipole.prompts) if prompts is None else prompts))
    if not texts:
        raise UserError(
            f"There is nothing to continue: the dipole {dipole.label!r} has neither held_out nor prompts; "
            "give prompts that force a choice, such as 'If I had to choose between tea and coffee, I take'."
        )
    return texts


def _read(meters: tuple[Meter, ...], lms: Sequence[LM], drawn: Sequence[list[Sample]]) -> Read:
    parts = [
        [values_of(meter, lm, samples) for meter in meters] for lm, samples in zip(lms, drawn, strict=True)
    ]
    values = tuple(np.concatenate(columns) for columns in zip(*parts, strict=True))
    return Read(meters, tuple(sample for part in drawn for sample in part), values)
