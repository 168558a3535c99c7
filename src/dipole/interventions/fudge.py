"""Guidance by a probe: each likely next token is weighed by what the probe makes of the text with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from dipole.decoding.guides import Session
from dipole.files.schema import Field, Number, Optional, Whole
from dipole.interventions._fudge_guide import FudgeGuide
from dipole.interventions.folder import MOST_LAYERS
from dipole.interventions.logits import StoredChange
from dipole.tensors import Wanted


@dataclass(frozen=True, eq=False)
class Fudge(StoredChange):
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
        mass: Share of the probability that the candidates must have together; 1 takes `candidates` always.
        power: Exponent of the probe's probability at strength 1 (the paper's lambda).
    """

    layer: int
    weight: Tensor
    bias: Tensor
    candidates: int
    mass: float = 1.0
    power: float = 1.0

    kind: ClassVar[str] = "fudge"
    fields: ClassVar[Mapping[str, Field]] = {
        "layer": Whole(0, MOST_LAYERS),
        "candidates": Whole(1),
        "mass": Optional(Number(0, 1, above=True), 1.0),
        "power": Optional(Number(0, above=True), 1.0),
    }
    tensors: ClassVar[Mapping[str, Wanted]] = {
        "weight": Wanted("float", ("width",)),
        "bias": Wanted("float", ()),
    }

    @classmethod
    def wrong_with(cls, stored: Mapping[str, Tensor]) -> str:
        """Weights that are not twice as many as a layer is wide."""
        count = len(stored["weight"])
        return "" if count and not count % 2 else "are no probe of one layer"

    def reads(self) -> dict[str, Any]:
        """The layer and its width."""
        return {"layers": (self.layer,), "width": len(self.weight) // 2}

    def guide(self, session: Session, strength: float) -> FudgeGuide:
        """What changes the logits of one batch."""
        probe = self.layer, self.weight, self.bias
        return FudgeGuide(session, *probe, self.candidates, self.mass, strength * self.power)
