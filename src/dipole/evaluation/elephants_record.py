"""What `elephants` found, as a record that prints itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from dipole.effects import Interval
from dipole.evaluation.serialise import plain
from dipole.origin import Origin
from dipole.shown.numbers import bounds, change, number
from dipole.shown.terminal import columns, one_line

Condition = Literal["none", "told", "other", "reversed"]
Quantity = Literal["pink", "grey", "neither"]
CONDITIONS: dict[Condition, str] = {
    "none": "told nothing",
    "told": "told not to",
    "other": "told of other things",
    "reversed": "told the reverse",
}
QUANTITIES: dict[Quantity, str] = {
    "pink": "names what to avoid",
    "grey": "names the other",
    "neither": "names neither",
}
_MOST_LOST = 0.05  # share of texts


class Cell(NamedTuple):
    """How often something is named under one condition.

    Attributes:
        condition: What the model is told; see `CONDITIONS`.
        quantity: What is counted; see `QUANTITIES`.
        before: Share of the texts of the LM before.
        after: Of the LM after, on the same prompts and random numbers.
        difference: Paired, after - before.
    """

    condition: Condition
    quantity: Quantity
    before: Interval
    after: Interval
    difference: Interval


class Single(NamedTuple):
    """One pair of things: how often what it avoids is named.

    Attributes:
        label: The pair.
        n: Texts a condition.
        none: Shares before and after, told nothing.
        told: The same, told not to.
    """

    label: str
    n: int
    none: tuple[float, float]
    told: tuple[float, float]


@dataclass(frozen=True)
class Elephants:
    """How often a model names what it is told not to, before and after.

    Attributes:
        avoids: The pairs of things as plain data.
        stranger: The pair that the condition `other` is told of.
        n: Texts a condition, over all pairs.
        cells: One of each condition and quantity.
        singles: Each pair alone.
        notes: What a reader must know.
        origin: What makes it again.
    """

    avoids: tuple[Mapping[str, Any], ...]
    stranger: Mapping[str, Any]
    n: int
    cells: tuple[Cell, ...]
    singles: tuple[Single, ...]
    notes: tuple[str, ...]
    origin: Origin

    def cell(self, condition: Condition, quantity: Quantity) -> Cell:
        """The cell of a condition and a quantity."""
        return next(c for c in self.cells if (c.condition, c.quantity) == (condition, quantity))

    @property
    def halved(self) -> bool:
        """Whether, told not to, what to avoid is named at most half as often as before."""
        found = self.cell("told", "pink")
        return found.before.mean > 0 and found.after.mean <= found.before.mean / 2

    @property
    def kept(self) -> bool:
        """Whether, told so, the other is named as often as before, up to 5 points less."""
        return self.cell("told", "grey").difference.mean >= -_MOST_LOST

    @property
    def verdict(self) -> str:
        """Both in plain words, and whether the model has merely stopped to name things."""
        pink, grey, mute = self.cell("told", "pink"), self.cell("told", "grey"), self.cell("none", "neither")
        free = self.cell("none", "pink").difference
        halved = "at most half" if self.halved else "more than half"
        kept = "no more than 5 points less" if self.kept else "over 5 points less"
        lines = [
            f"Told not to, the model names what to avoid in {_share(pink.after)} of its texts, where it did "
            f"in {_share(pink.before)}: {halved}.",
            f"What to speak of instead it names in {_share(grey.after)}, where it did in "
            f"{_share(grey.before)}: {kept}.",
        ]
        if mute.difference.mean > _MOST_LOST and mute.difference.low > 0:
            lines.append(
                f"Told nothing, it names neither in {_share(mute.after)} ({_share(mute.before)} before): it "
                "has learned to name nothing."
            )
        if free.mean < -_MOST_LOST and free.high < 0:
            lines.append("It avoids it told nothing too: it has not learned the instruction but the side.")
        return " ".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for strict JSON; nothing is rounded."""
        names = ("avoids", "stranger", "n", "halved", "kept", "verdict")
        data: dict[str, Any] = {name: plain(getattr(self, name)) for name in names}
        data["cells"] = [plain(c._asdict()) for c in self.cells]
        data["singles"] = [plain(s._asdict()) for s in self.singles]
        return {**data, "notes": list(self.notes)}

    def __str__(self) -> str:
        """The table, each pair where there are several, and the verdict."""
        rows = [
            [
                f"{CONDITIONS[c.condition]}, {QUANTITIES[c.quantity]}",
                number(c.before.mean, "share"),
                number(c.after.mean, "share"),
                f"{change(c.difference.mean, 'share')} {bounds(c.difference, 'share')}".rstrip(),
            ]
            for c in self.cells
        ]
        lines = [f"{self.n} texts a row", "", *columns(("share of texts", "before", "after", "change"), rows)]
        if len(self.singles) > 1:
            of_each = [
                [s.label, *(f"{number(a, 'share')} → {number(b, 'share')}" for a, b in (s.none, s.told))]
                for s in self.singles
            ]
            lines += ["", *columns(("names what to avoid", "told nothing", "told not to"), of_each)]
        return "\n".join([*lines, "", *(one_line(text) for text in (*self.notes, self.verdict))])


def _share(found: Interval) -> str:
    return number(found.mean, "share")
