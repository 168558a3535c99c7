"""What makes a comparison again, of two LMs or of many controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from dipole.concepts import Dipole
from dipole.evaluation.families_records import Comparison
from dipole.origin import Origin, fit_origin
from dipole.protocols import LM


@dataclass(frozen=True)
class Pair:
    """What a comparison of two LMs was asked to do, as a manifest records a control."""

    n: int
    max_new_tokens: int
    bystander_n: int

    name: ClassVar[str] = "compare"


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


def effect_origin(
    before: LM, after: LM, dipole: Dipole, pair: Pair, prompts: Sequence[str], seed: int, started: datetime
) -> Origin:
    """What the manifest of an effect will say.

    Args:
        before: The LM before.
        after: The LM after.
        dipole: What was wanted.
        pair: What was asked.
        prompts: Prompts that were continued.
        seed: Of the samples.
        started: When it began.
    """
    applied = {
        name: [{"kind": a.intervention.kind, "strength": a.strength} for a in lm.applied]
        for name, lm in (("before", before), ("after", after))
    }
    return fit_origin(
        pair, dipole.to_dict(), started, before.resident, seed=seed, prompts=dipole.prompts, held_out=prompts,
        verb="compare", applied=applied,
    )  # fmt: skip
