"""Guidance by a probe: each likely next token is weighed by what the probe makes of the text with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor

from dipole.decoding.guides import Session
from dipole.files.schema import Field, Number, Optional, Whole
from dipole.interventions._fudge_guide import FudgeGuide
from dipole.interventions.folder import (
    BASE,
    MOST_LAYERS,
    checked_apply,
    folder_tensors,
    read_fields,
    require_fit,
    write_folder,
)
from dipole.interventions.logits import base_of
from dipole.tensors import Wanted, aligned
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.lm import LM


@dataclass(frozen=True, eq=False)
class Fudge:
    """Draws from what the model would write if the text belonged to a notion (Yang and Klein 2021).

    A linear probe reads the text so far with each of the likeliest next tokens behind it: the mean of one
    layer's states over all tokens but the first, and the state of the last. With a calibrated probe
    and `power` 1, strength 1 is the model's own distribution given the notion, so it neither narrows the
    notion nor spoils the text. It costs, up to that layer, one row of the model for each candidate and step.

    Departures from the published method:

    1. The probe reads the model's own states, where a classifier of its own was trained.
    2. As many candidates as are needed for `mass` of the probability, at most `candidates`, not 200 always.
       Where that is a single token nothing is read.
    3. A token that ends the text is weighed by what the probe makes of the text without it, because it adds
       nothing to it and the probe has seen no text behind it.
    4. A negative strength weighs by the probability that the text does not belong.

    Attributes:
        layer: Block whose output is read, counted from 0.
        weight: `(2 * width,)` float32, for the mean and the last state.
        bias: `()` float32.
        candidates: Most next tokens that are weighed; the others are not said.
        base_name: The model it was fitted on.
        base_fingerprint: Its fingerprint.
        facts: How it was made, as plain data.
        card: Model card in Markdown.
        mass: Share of the probability that the candidates must have together; 1 takes `candidates` always.
        power: Exponent of the probe's probability at strength 1 (the paper's lambda).
    """

    layer: int
    weight: Tensor
    bias: Tensor
    candidates: int
    base_name: str
    base_fingerprint: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    card: str = ""
    mass: float = 1.0
    power: float = 1.0

    surface: ClassVar[Surface] = "logits"
    kind: ClassVar[str] = "fudge"
    graded: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Bring the numbers to alignment, as they are after they were loaded."""
        for name in ("weight", "bias"):
            object.__setattr__(self, name, aligned(getattr(self, name)))

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM under guidance; negative strengths lead away from the notion.

        Raises:
            UserError: The strength is not finite, or the LM is another.
        """
        steered = checked_apply(self, lm, strength, self.base_name, self.base_fingerprint)
        require_fit(lm, self.base_name, (self.layer,), len(self.weight) // 2)
        return steered

    def guide(self, session: Session, strength: float) -> FudgeGuide:
        """What changes the logits of one batch."""
        return FudgeGuide(session, self, strength * self.power)

    def save(self, folder: Path) -> None:
        """Write tensors, `dipole.json` and a card."""
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            **base_of(self),
            "layer": self.layer,
            "candidates": self.candidates,
            "mass": self.mass,
            "power": self.power,
            "facts": self.facts,
        }
        write_folder(folder, meta, {"weight": self.weight, "bias": self.bias}, self.card)

    @classmethod
    def load(cls, folder: Path) -> Fudge:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, _FIELDS)
        stored = folder_tensors(folder, {"weight": Wanted("float", ("width",)), "bias": Wanted("float", ())})
        weight, bias = stored["weight"], stored["bias"]
        if not len(weight) or len(weight) % 2:
            raise UserError(f"The tensors in {folder} are no probe of one layer; fit the control again.")
        return cls(
            meta["layer"],
            weight.float(),
            bias.float(),
            meta["candidates"],
            meta["base"],
            meta["base_fingerprint"],
            meta["facts"],
            mass=meta["mass"],
            power=meta["power"],
        )


_FIELDS: dict[str, Field] = {
    **BASE,
    "layer": Whole(0, MOST_LAYERS),
    "candidates": Whole(1),
    "mass": Optional(Number(0, 1, above=True), 1.0),
    "power": Optional(Number(0, above=True), 1.0),
}
