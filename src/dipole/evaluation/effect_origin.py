"""What makes a comparison of two LMs again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from dipole.concepts import Dipole
from dipole.origin import Origin, fit_origin
from dipole.protocols import LM


@dataclass(frozen=True)
class Pair:
    """What a comparison of two LMs was asked to do, as a manifest records a control."""

    n: int
    max_new_tokens: int
    bystander_n: int

    name: ClassVar[str] = "compare"


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
