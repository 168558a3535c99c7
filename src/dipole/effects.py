"""What changed between two LMs, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from dipole.origin import Origin
from dipole.types import Sample


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval; NaN bounds where there was too little to resample."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether 0 lies outside; never without bounds."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Change:
    """One quantity before and after, over the same prompts and seeds.

    Attributes:
        name: Machine name of the quantity, such as `claim_share`.
        label: The same for a reader.
        unit: `share`, `nats`, `nats/token`, `nats/sequence`, `probability`, `ratio` or ``.
        before: Value for the LM before, None where it is not defined (a divergence from itself).
        after: Value for the LM after.
        difference: Paired difference, after - before, with its interval; None where before is None.
        in_loop: Whether the quantity was part of what the control optimised.
        n: How many paired units stand behind it.
        unscored: How many could not be scored.
    """

    name: str
    label: str
    unit: str
    before: Interval | None
    after: Interval
    difference: Interval | None
    in_loop: bool
    n: int
    unscored: int = 0


@dataclass(frozen=True)
class Bystander:
    """What happened to a dipole that nobody asked to move.

    Attributes:
        name: Name of the dipole.
        before: Mean probability of its claim before.
        after: The same after.
        shift: Paired difference with its interval.
    """

    name: str
    before: float
    after: float
    shift: Interval


@dataclass(frozen=True)
class Effect:
    """What changed between two LMs, and what else changed with it.

    Attributes:
        concept: The concept as plain data.
        prompts: Prompts that were continued.
        held_out: Whether no prompt among them was trained on.
        changes: Quantities before and after, the main one first.
        bystanders: Other dipoles on their own prompts.
        samples_before: Completions of the LM before.
        samples_after: Completions of the LM after, paired with those before by prompt and seed.
        sides_before: Side taken by each completion: `claim`, `against`, or None.
        sides_after: The same after.
        notes: Plain sentences that a reader must see first, such as that it did nothing.
        origin: What makes it again; None where it was read from a file.
    """

    concept: dict[str, Any]
    prompts: tuple[str, ...]
    held_out: bool
    changes: tuple[Change, ...]
    bystanders: tuple[Bystander, ...] = ()
    samples_before: tuple[Sample, ...] = ()
    samples_after: tuple[Sample, ...] = ()
    sides_before: tuple[str | None, ...] = ()
    sides_after: tuple[str | None, ...] = ()
    notes: tuple[str, ...] = field(default=())
    origin: Origin | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """What a reader must see first, and a line a quantity: before, after, and the difference."""
        rows = [_shown(change) for change in self.changes]
        widest = max((len(row[0]) for row in rows), default=0)
        lines = [f"{row[0]:{widest}}  {row[1]:>8}  {row[2]:>8}  {row[3]}".rstrip() for row in rows]
        return "\n".join([*(" ".join(note.split()) for note in self.notes), *lines])

    def __getitem__(self, name: str) -> Change:
        """The change of that name."""
        for change in self.changes:
            if change.name == name:
                return change
        raise KeyError(f"no change named {name!r}; there are: {', '.join(c.name for c in self.changes)}")


def _shown(change: Change) -> tuple[str, str, str, str]:
    """A row of the printed table."""
    before = "" if change.before is None else f"{change.before.mean:.3f}"
    moved, d = "", change.difference
    if d is not None:
        moved = f"{d.mean:+.3f} [{d.low:+.3f}, {d.high:+.3f}]"
    unit = f" ({change.unit})" if change.unit else ""
    return f"{change.label}{unit}", before, f"{change.after.mean:.3f}", moved + " in-loop" * change.in_loop
