"""Comparing controls across families: from one dipole, on one dial, at matched distance from the base."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from dipole.concepts import Dipole
from dipole.evaluation.families_fit import named
from dipole.evaluation.families_records import (
    KL_VALUES,
    STRENGTHS,
    Comparison,
    Curve,
    Matched,
    Point,
    Verdict,
)
from dipole.evaluation.families_run import Plan
from dipole.evaluation.meters.protocol import Meter
from dipole.evaluation.serialise import plain
from dipole.progress import Progress, silent
from dipole.protocols import LM, Control, Intervention, Recognizer
from dipole.types import UserError

__all__ = [
    "Comparison",
    "Curve",
    "Entry",
    "Matched",
    "Point",
    "Verdict",
    "compare_controls",
    "comparison_to_dict",
    "sweep",
]

Entry = Control | Intervention | tuple[str, Control | Intervention]
"""A control to fit, a fitted intervention, or either with a label of its own."""
BASELINE = "prompt"


def compare_controls(
    lm: LM,
    dipole: Dipole,
    controls: Sequence[Entry],
    *,
    strengths: Sequence[float] = STRENGTHS,
    n: int = 128,
    seed: int = 0,
    repeats: int = 1,
    max_new_tokens: int = 28,
    bystanders: Iterable[Dipole] = (),
    bystander_n: int = 32,
    kl_values: Sequence[float] = KL_VALUES,
    null: bool = True,
    tolerance: float = 0.05,
    batch_size: int = 64,
    meters: Sequence[Recognizer | Meter | str] = (),
    progress: Progress = silent,
) -> Comparison:
    """Fit controls to one dipole and measure all of them alike.

    Every control is fitted on the dipole's `prompts` alone and measured on its `held_out` ones, against the
    same completions of the base, with common random numbers. The prompt control is the baseline and is
    added where it is missing.

    Args:
        lm: The base; it stays as it was.
        dipole: What is wanted.
        controls: Controls to fit, or fitted interventions; any of them with a label.
        strengths: For controls with a graded strength; 0 and 1 are always among them. The others are
            measured at 1, and at -1 where they have it.
        n: Completions a point and repeat, spread over the prompts.
        seed: Seed of the completions and of the bootstrap.
        repeats: How often to sample with other seeds; a control that has a `seed` is fitted anew each time.
        max_new_tokens: Token budget of a completion.
        bystanders: Dipoles that nobody asked to move, continued on their own prompts at strength 1.
        bystander_n: Completions a bystander.
        kl_values: Distances from the base, nats a sequence, at which the effects are compared.
        null: Add a random direction of the same norm for each control that adds a vector, and random words
            for one that boosts words.
        tolerance: Fall of VELMA's probability from which an input counts as moved the wrong way.
        batch_size: Rows a forward.
        meters: What to measure beside VELMA, sides, likelihood, variety and length; as for `compare`.
        progress: Told what is measured next.

    Raises:
        UserError: There is nothing to compare, no control could be fitted, or a number is out of range.
    """
    from dipole.registry import CONTROLS, resolve

    entries = list(controls)
    if not entries:
        raise UserError("There is nothing to compare; name controls, such as prompt and vector.")
    if BASELINE not in {candidate.name for candidate in named(entries)}:
        entries.insert(0, resolve(CONTROLS, BASELINE)())
    plan = Plan(
        lm, dipole, tuple(strengths), tuple(kl_values), n, seed, repeats, max_new_tokens, bystander_n, null,
        tolerance, batch_size, progress, tuple(meters),
    )  # fmt: skip
    return plan.run(named(entries), bystanders)


def sweep(
    lm: LM,
    dipole: Dipole,
    control: Entry,
    strengths: Sequence[float] = STRENGTHS,
    *,
    n: int = 128,
    seed: int = 0,
    repeats: int = 1,
    max_new_tokens: int = 28,
    bystanders: Iterable[Dipole] = (),
    bystander_n: int = 32,
    null: bool = False,
    tolerance: float = 0.05,
    batch_size: int = 64,
    meters: Sequence[Recognizer | Meter | str] = (),
    progress: Progress = silent,
) -> Comparison:
    """One control's dose-response curve, by the machinery of `compare_controls`, without the baseline.

    Args:
        lm: The base; it stays as it was.
        dipole: What is wanted.
        control: A control to fit, or a fitted intervention; with a label where wanted.
        strengths: As for `compare_controls`.
        n: Like all that follow, as for `compare_controls`.
        seed: Seed of the completions and of the bootstrap.
        repeats: How often to sample with other seeds.
        max_new_tokens: Token budget of a completion.
        bystanders: Dipoles that nobody asked to move.
        bystander_n: Completions a bystander.
        null: Add a random direction of the same norm.
        tolerance: Fall of VELMA's probability from which an input counts as moved the wrong way.
        batch_size: Rows a forward.
        meters: What else to measure.
        progress: Told what is measured next.

    Raises:
        UserError: The control can't be fitted, or a number is out of range.
    """
    plan = Plan(
        lm, dipole, tuple(strengths), KL_VALUES, n, seed, repeats, max_new_tokens, bystander_n, null,
        tolerance, batch_size, progress, tuple(meters),
    )  # fmt: skip
    return replace(plan.run(named([control]), bystanders), sweep=True)


def comparison_to_dict(comparison: Comparison) -> dict[str, Any]:
    """What `comparison.json` holds; nothing is rounded."""
    return {"format": "dipole-comparison", "version": 1, **plain(comparison)}
