"""The records of pointing: how it is done, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from dipole.controls.layers import check_layers
from dipole.effects import Interval
from dipole.origin import Origin
from dipole.pointing.measure import Reading, Written, plain
from dipole.pointing.refine import WAYS, Way
from dipole.pointing.said import reading_lines, verdict, written_lines
from dipole.pointing.steering import Steer
from dipole.protocols import Intervention
from dipole.recognizers.notion import NotionScore
from dipole.types import MOST_COUNT, UserError, check_seed


@dataclass(frozen=True)
class Settings:
    """How to get from the weak notion to the strong one.

    Attributes:
        method: How the notion is found: auto (intersection, or fixed-point where that is nearly everything),
            intersection (the node of the model's own cluster tree that overlaps most), difference, residual,
            probe (noisy labels with the confidence loss), kmeans, mixture (two clusters, begun at the weak
            labels) or fixed-point.
        steer: How it steers: fudge (guidance by a probe of beginnings) or vector.
        layers: Layers to read, counted from 0 with commas, or auto.
        max_layers: How many layers auto reads, evenly spread.
        width: Principal components of a layer that clusters and probes are made in.
        held_out: Share of the documents that nothing is fitted on and all numbers are measured on.
        n: Texts to write for each way of writing; 0 writes none.
        max_new_tokens: Token budget of each.
        seed: Of clusters, draws and texts.
    """

    method: Way = "auto"
    steer: Steer = "fudge"
    layers: str = "auto"
    max_layers: int = 4
    width: int = 24
    held_out: float = 0.3
    n: int = 64
    max_new_tokens: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.method not in WAYS:
            raise UserError(f"method must be one of {', '.join(WAYS)}, and is {self.method!r}.")
        if self.steer not in ("fudge", "vector"):
            raise UserError(f"steer must be fudge or vector, and is {self.steer!r}.")
        check_layers(self.layers)
        for name, least in (("max_layers", 1), ("width", 2), ("n", 0), ("max_new_tokens", 1)):
            if not least <= getattr(self, name) <= MOST_COUNT:
                given = getattr(self, name)
                raise UserError(
                    f"{name} must be at least {least} and at most {MOST_COUNT:,}, and is {given}."
                )
        check_seed(self.seed)
        if not 0 < self.held_out < 1:
            raise UserError(f"held_out is a share between 0 and 1, and is {self.held_out}.")


class Mapped(NamedTuple):
    """A document on the map.

    Attributes:
        id: Its id.
        x: First principal component of the layer.
        y: Second one.
        weak: Probability by the weak notion.
        refined: Probability by the refined one.
        truth: Its label; None without truth.
    """

    id: str
    x: float
    y: float
    weak: float
    refined: float
    truth: bool | None


class Differing(NamedTuple):
    """A held-out document on which the two notions differ.

    Attributes:
        id: Its id.
        weak: Probability by the weak notion.
        refined: Probability by the refined one.
        truth: Its label; None without truth.
        text: Its beginning.
    """

    id: str
    weak: float
    refined: float
    truth: bool | None
    text: str = ""


@dataclass(frozen=True, eq=False)
class Pointed:
    """What pointing gave.

    Attributes:
        recognizer: The refined notion.
        intervention: What steers by it.
        notion: How it was found, as plain data.
        readings: Weak, refined and ceiling against the truth; empty without truth.
        recovered: Share of the gap between weak notion and ceiling that the refined one closes, in F1.
        among_true: Share of the true documents (of the refined notion's, without truth) that the weak notion
            takes for its own: what the excess of a way of writing is counted from.
        written: Ways of writing.
        documents: Some held-out documents on a map.
        differing: Some held-out documents that only one of the notions takes.
        agreement: Share of held-out documents on which weak and refined notion agree.
        skipped: What of the corpus was left out.
        notes: Plain sentences that a reader must see first.
        origin: What makes it again.
    """

    recognizer: NotionScore
    intervention: Intervention
    notion: Mapping[str, Any]
    readings: tuple[Reading, ...]
    recovered: float | None
    among_true: Interval
    written: tuple[Written, ...]
    documents: tuple[Mapped, ...]
    differing: tuple[Differing, ...]
    agreement: float
    skipped: int
    notes: tuple[str, ...]
    origin: Origin

    def __str__(self) -> str:
        """What was read and written, and what it came to."""
        lines = [*reading_lines(self.readings), *written_lines(self.written)]
        return "\n".join([*lines, verdict(self.readings, self.written, self.agreement)])

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "notion": self.notion,
            "readings": [plain(reading) for reading in self.readings],
            "gap_recovered_f1": self.recovered,
            "weak_share_of_true": asdict(self.among_true),
            "written": [asdict(written) for written in self.written],
            "differing": [each._asdict() for each in self.differing],
            "agreement": self.agreement,
            "skipped": self.skipped,
            "notes": self.notes,
        }
