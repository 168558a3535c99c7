"""What was measured of a control as a curve: matched with the others by its distance, and judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dipole.evaluation.bench import Bench, Read
from dipole.evaluation.families_fit import Fitted, settings
from dipole.evaluation.families_matched import match_curve, match_point
from dipole.evaluation.families_points import units
from dipole.evaluation.families_records import Curve, Matched, Point
from dipole.evaluation.families_verdict import judge_curve, null_sentence
from dipole.evaluation.meters.protocol import Array
from dipole.protocols import Intervention
from dipole.types import Sample


@dataclass(frozen=True)
class Drawn:
    """A control's points, with what was read at each strength that could be measured."""

    fitted: Fitted
    null_of: str
    points: tuple[Point, ...]
    reads: Mapping[float, Read]
    skipped: tuple[tuple[float, str], ...]
    ratios: tuple[float, ...]

    @property
    def label(self) -> str:
        """Of the curve."""
        return self.fitted.candidate.label

    @property
    def graded(self) -> bool:
        """Whether it is a curve and not one point."""
        return self.fitted.first.graded


def own_distances(drawn: Sequence[Drawn]) -> dict[str, float]:
    """KL in nats a sequence of each control without graded strength, to which the others are compared too."""
    alone = {d.label: d.reads[1.0] for d in drawn if not d.graded and 1.0 in d.reads and not d.null_of}
    found = {label: float(units(read, "kl").mean()) for label, read in alone.items()}
    return {label: kl for label, kl in found.items() if kl > 0}


def curves(
    bench: Bench, drawn: Sequence[Drawn], main: str, kl_values: Sequence[float], names: Mapping[str, float]
) -> tuple[Curve, ...]:
    """One curve a control, with its verdict.

    Args:
        bench: What they were measured on.
        drawn: Controls and their nulls.
        main: Name of the main quantity.
        kl_values: Distances for the effect at matched KL.
        names: Further distances, by the control that has them.
    """
    made = [_curve(bench, each, main, (*kl_values, *names.values()), names) for each in drawn]
    nulls = {curve.null_of: curve for curve in made if curve.null_of}
    return tuple(_beside(curve, nulls.get(curve.label), main) for curve in made)


def sides(bench: Bench, samples: Sequence[Sample]) -> tuple[str | None, ...]:
    """The side that each completion takes."""
    return tuple(bench.subject.dipole.side_taken(sample.text) for sample in samples)


def _beside(curve: Curve, null: Curve | None, main: str) -> Curve:
    """The curve whose verdict also says how it compares with its null."""
    sentence = null_sentence(curve, null, main) if null is not None else ""
    if not sentence:
        return curve
    return replace(curve, verdict=replace(curve.verdict, sentences=(*curve.verdict.sentences, sentence)))


def _curve(
    bench: Bench, drawn: Drawn, main: str, targets: Sequence[float], names: Mapping[str, float]
) -> Curve:
    fitted, given = drawn.fitted, drawn.fitted.candidate.given
    one = drawn.reads.get(1.0)
    samples = one.samples[: len(bench.prompts)] if one else ()
    return Curve(
        label=drawn.label,
        control=fitted.candidate.name,
        surface=fitted.first.surface,
        kind=fitted.first.kind,
        paper="" if isinstance(given, Intervention) else str(getattr(given, "paper", "")),
        settings=settings(given),
        graded=drawn.graded,
        null_of=drawn.null_of,
        in_loop=fitted.judged_by.rewarded,
        selected=bool(fitted.judged_by.chosen),
        points=drawn.points,
        matched=tuple(_matched(bench, drawn, main, targets, names.get(drawn.label, 0.0))),
        verdict=judge_curve(drawn.points, main, drawn.graded, drawn.skipped, bool(drawn.null_of)),
        fit_seconds=fitted.seconds,
        time_ratios=drawn.ratios,
        bytes=fitted.bytes,
        skipped=drawn.skipped,
        samples=samples,
        sides=sides(bench, samples),
    )


def _matched(
    bench: Bench, drawn: Drawn, main: str, targets: Sequence[float], own: float
) -> Iterator[Matched]:
    share = main == "claim_share"
    strengths = sorted(s for s in drawn.reads if s >= 0)

    def rows(name: str) -> Array:
        return np.stack([units(drawn.reads[s], name) for s in strengths])

    kls, values, probabilities = rows("kl"), rows(main), rows("velma_probability")
    for target in targets:
        if drawn.graded:
            yield match_curve(strengths, kls, values, probabilities, target, bench.plan, share)
        elif 1.0 in strengths:
            yield match_point(own, values[-1], probabilities[-1], target, bench.plan, share)
