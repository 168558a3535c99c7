"""What makes a comparison of controls again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from dipole.evaluation.families_records import Comparison
from dipole.origin import Origin, fit_origin
from dipole.protocols import LM


@dataclass(frozen=True)
class Asked:
    """What a comparison of controls was asked to do."""

    controls: tuple[str, ...]
    strengths: tuple[float, ...]
    n: int
    repeats: int
    max_new_tokens: int
    bystander_n: int
    tolerance: float
    null: bool

    name: ClassVar[str] = "compare"


def comparison_origin(lm: LM, found: Comparison, started: datetime) -> Origin:
    """What the manifest of a comparison will say.

    Args:
        lm: The base.
        found: What was measured.
        started: When it began.
    """
    asked = found.settings
    proper = [curve for curve in found.curves if not curve.null_of]
    taken = ("n", "repeats", "max_new_tokens", "bystander_n", "tolerance", "null")
    control = Asked(
        tuple(curve.label for curve in proper),
        tuple(asked["strengths"]),
        **{name: asked[name] for name in taken},
    )
    return fit_origin(
        control, found.concept, started, lm.resident, seed=int(asked["seed"]), prompts=found.fitted_on,
        held_out=found.prompts,
        controls={curve.label: {"name": curve.control, "fields": curve.settings} for curve in proper},
    )  # fmt: skip
