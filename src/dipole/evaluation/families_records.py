"""What a comparison across families of controls holds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dipole.effects import Bystander, Change, Interval
from dipole.origin import Origin
from dipole.shown.terminal import columns, one_line
from dipole.types import Sample, Surface

STRENGTHS = (-2.0, -1.0, -0.5, 0.25, 0.5, 1.0, 2.0)
KL_VALUES = (0.5, 1.0, 2.0, 4.0)
CLAIM_TARGET = 0.85
PERPLEXITY_TARGET = 1.3
_SHOWN = ("claim_share", "against_share", "velma_probability", "perplexity_ratio", "kl")


@dataclass(frozen=True)
class Point:
    """One control at one strength, against the LM that it was applied to.

    Attributes:
        strength: 0 is the base, 1 as fitted.
        changes: Quantities as in `Effect.changes`, among them `claim_share`, `against_share` (both only
            where the dipole names mentions), `velma_probability`, `velma_log_odds`, `kl`, `kl_token`,
            `perplexity_ratio`, `distinct_2_ratio`, `wrong_way_share`, and at strength 1
            `mean_bystander_shift` where bystanders were given.
        kl_is_bound: Whether `kl` is only known not to be larger than this.
        same: Share of the completions that are the base's own, token for token.
        bystanders: Other dipoles on their own prompts; at strength 1 of the first repeat only.
        repeats: For `claim_share`, `velma_probability` and `kl`, the value in each repeat.
    """

    strength: float
    changes: tuple[Change, ...]
    kl_is_bound: bool = False
    same: float = 0.0
    bystanders: tuple[Bystander, ...] = ()
    repeats: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Change:
        """The change of that name."""
        found = self.get(name)
        if found is None:
            raise KeyError(f"no {name!r} here; there are: {', '.join(c.name for c in self.changes)}")
        return found

    def get(self, name: str) -> Change | None:
        """The change of that name, None where it was not measured."""
        return next((change for change in self.changes if change.name == name), None)


@dataclass(frozen=True)
class Matched:
    """What a control does at a given distance from the base.

    Attributes:
        kl: The distance, nats a sequence.
        state: `between` (interpolated on the curve), `measured` (an ungraded control at its own distance),
            `not reached` (the curve ends nearer to the base), or `no curve` (an ungraded control elsewhere).
        strength: Strength at which the curve first is that far away; NaN where it is not.
        value: The main quantity there, with its interval; NaN where there is none.
        probability: Mean VELMA probability there.
        farthest: The largest distance that the curve has at a positive strength.
    """

    kl: float
    state: str
    strength: float
    value: Interval
    probability: Interval
    farthest: float


@dataclass(frozen=True)
class Verdict:
    """What a control came to, in plain words.

    Attributes:
        did_nothing: Whether the main change's interval holds 0 and it stayed at the base's distribution.
        reached: Whether the target was reached at strength 1; None for a control without graded strength.
        pushes_back: Whether a negative strength pushes the other way; None where none was measured.
        sentences: All of it, the most important first.
    """

    did_nothing: bool
    reached: bool | None
    pushes_back: bool | None
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Curve:
    """One fitted control at several strengths.

    Attributes:
        label: Its name in tables and plots.
        control: Name of the control, or the kind of an intervention that came fitted.
        surface: Where it acts.
        kind: Kind of the intervention.
        paper: Short citation; may be empty.
        settings: The control's fields as plain data.
        graded: Whether strengths other than 1 and -1 exist.
        null_of: Label of the control that this one is the null of (a random direction of the same norm);
            empty for a control proper.
        in_loop: Names of the recognizers that the control optimised.
        selected: Whether its strength was chosen by VELMA, or by mentions, on prompts of its own.
        points: By strength, 0 among them.
        matched: The effect at common distances from the base.
        verdict: What it came to.
        fit_seconds: Time to fit, one value a fit.
        time_ratios: Seconds a generated token at strength 1 over those of the base, one value a repeat.
        bytes: Size of the saved artefact without its model card.
        skipped: Strengths that could not be measured, and why.
        samples: Completions at strength 1 in the first repeat.
        sides: Side that each of them took.
    """

    label: str
    control: str
    surface: Surface
    kind: str
    paper: str
    settings: Mapping[str, Any]
    graded: bool
    null_of: str
    in_loop: tuple[str, ...]
    selected: bool
    points: tuple[Point, ...]
    matched: tuple[Matched, ...]
    verdict: Verdict
    fit_seconds: tuple[float, ...]
    time_ratios: tuple[float, ...]
    bytes: int
    skipped: tuple[tuple[float, str], ...] = ()
    samples: tuple[Sample, ...] = ()
    sides: tuple[str | None, ...] = ()

    def at(self, strength: float) -> Point | None:
        """The point at a strength, None where it was not measured."""
        return next((point for point in self.points if point.strength == strength), None)

    def gain(self, main: str) -> float:
        """Change of the main quantity at strength 1; NaN where it was not measured."""
        one = self.at(1.0)
        difference = one[main].difference if one is not None else None
        return difference.mean if difference is not None else math.nan

    def gain_a_second(self, main: str) -> float:
        """The same for each second of fitting; NaN where nothing was fitted."""
        seconds = sum(self.fit_seconds) / max(1, len(self.fit_seconds))
        return self.gain(main) / seconds if seconds > 0 else math.nan

    def gain_a_byte(self, main: str) -> float:
        """The same for each byte of the artefact."""
        return self.gain(main) / self.bytes if self.bytes else math.nan


@dataclass(frozen=True)
class Comparison:
    """Several controls fitted to one dipole, measured alike.

    Attributes:
        concept: The dipole as plain data.
        prompts: Prompts that were continued.
        held_out: Whether none of them was fitted on.
        fitted_on: Prompts that every control was fitted on.
        main: Name of the main quantity: `claim_share`, or `velma_probability` without mentions.
        base: The base's own level of every quantity, as the point at strength 0 has it.
        curves: One a control, in the order given, nulls behind the control that they belong to.
        kl_values: Distances for the effect at matched KL, nats a sequence.
        kl_names: What else is known of some of them, such as `prompt`'s own distance.
        failed: Labels of controls that could not be fitted, and why.
        notes: Plain sentences that a reader must see first.
        settings: What the comparison was made with: strengths, n, repeats, seed, max_new_tokens, tolerance.
        samples: The base's completions in the first repeat.
        sides: Side that each of them took.
        sweep: Whether it is one control's curve only.
        origin: What makes it again; None where it was not measured here.
    """

    concept: Mapping[str, Any]
    prompts: tuple[str, ...]
    held_out: bool
    fitted_on: tuple[str, ...]
    main: str
    base: Point
    curves: tuple[Curve, ...]
    kl_values: tuple[float, ...]
    kl_names: Mapping[str, float]
    failed: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    settings: Mapping[str, Any]
    samples: tuple[Sample, ...] = ()
    sides: tuple[str | None, ...] = ()
    sweep: bool = False
    origin: Origin | None = field(default=None, compare=False)

    def __str__(self) -> str:
        """What a reader must see first, a line a control at strength 1, and what each came to."""
        header = ("", *(name.replace("_", " ") for name in _SHOWN))
        rows = [_shown("base", self.base)]
        rows += [_shown(curve.label, curve.at(1.0)) for curve in self.curves]
        said = [f"{one_line(c.label)}: {one_line(' '.join(c.verdict.sentences))}" for c in self.curves]
        return "\n".join([*map(one_line, self.notes), *columns(header, rows), "", *said])

    def __getitem__(self, label: str) -> Curve:
        """The curve of that label."""
        for curve in self.curves:
            if curve.label == label:
                return curve
        raise KeyError(f"no curve {label!r}; there are: {', '.join(c.label for c in self.curves)}")


def _shown(label: str, point: Point | None) -> list[str]:
    """A row of the printed table; empty where a quantity was not measured."""
    found = [None if point is None else point.get(name) for name in _SHOWN]
    return [label, *("" if change is None else f"{change.after.mean:.3f}" for change in found)]
