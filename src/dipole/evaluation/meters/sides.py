"""The side that a completion takes, by the first mention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from dipole.evaluation.meters.protocol import Direction, Meter, Quantity, Subject
from dipole.protocols import LM
from dipole.types import Sample

Side = Literal["claim", "against"]
_SIDES: tuple[tuple[Side, str, Direction], ...] = (
    ("claim", "claim's", "higher"),
    ("against", "counterclaim's", "lower"),
)


def meters(subject: Subject) -> list[Meter]:
    """Shares of completions on either side; nothing where the dipole names no mentions."""
    if not subject.dipole.mentions:
        return []
    taken = subject.dipole.side_taken  # of the completion alone: the prompt names both
    return shares(lambda s: taken(s.text), "", "by first mention", "mentions" in subject.optimised)


def shares(side: Callable[[Sample], Side | None], prefix: str, by: str, in_loop: bool = False) -> list[Meter]:
    """Shares of completions on either side.

    Args:
        side: Reads the side of a completion.
        prefix: Of the names.
        by: How sides are read, for the labels.
        in_loop: Whether the control optimised them.
    """

    def hits(wanted: Side) -> Callable[[LM, Sequence[Sample]], list[bool]]:
        return lambda _, samples: [side(sample) == wanted for sample in samples]

    return [
        Quantity(f"{prefix}{name}_share", f"on the {title} side, {by}", "share", way, hits(name), in_loop)
        for name, title, way in _SIDES
    ]
