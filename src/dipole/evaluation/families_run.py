"""A comparison across controls, step by step: sample the base, fit, measure, match, judge."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Dipole
from dipole.effects import Bystander, Change
from dipole.evaluation.bystanders import Watched, bystanders_of
from dipole.evaluation.families_fit import Candidate, Fitted, fit, settings
from dipole.evaluation.families_matched import RULE, match_curve, match_point
from dipole.evaluation.families_notes import comparison_notes
from dipole.evaluation.families_null import null_of
from dipole.evaluation.families_points import (
    Bench,
    Measured,
    base_point,
    claims,
    make_bench,
    make_point,
    measure,
    time_ratio,
    watch_base,
    watch_control,
)
from dipole.evaluation.families_records import Comparison, Curve, Matched, Point
from dipole.evaluation.families_verdict import judge_curve, null_sentence
from dipole.lm import LM
from dipole.protocols import Intervention
from dipole.recognizers.velma import Velma
from dipole.types import UserError

OnStep = Callable[[int, int, str], None]
"""Called before each step with the steps done, all steps, and what comes next in a few words."""


def silent(done: int, total: int, what: str) -> None:
    """No progress."""
    del done, total, what


@dataclass
class _Steps:
    """Counts steps for a progress bar; the total grows when a null turns up."""

    tell: OnStep
    total: int
    done: int = 0

    def __call__(self, what: str) -> None:
        self.tell(self.done, max(self.total, self.done + 1), what)
        self.done += 1


@dataclass(frozen=True)
class _Drawn:
    """A control's points, with the units behind each that has a strength of 0 or more."""

    fitted: Fitted
    null_of: str
    points: tuple[Point, ...]
    units: Mapping[float, Measured]
    skipped: tuple[tuple[float, str], ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True)
class Plan:
    """What a comparison was asked to do; see `compare_controls`."""

    lm: LM
    dipole: Dipole
    strengths: tuple[float, ...]
    kl_values: tuple[float, ...]
    n: int
    seed: int
    repeats: int
    max_new_tokens: int
    bystander_n: int
    null: bool
    tolerance: float
    batch_size: int
    on_step: OnStep

    def run(self, candidates: Sequence[Candidate], bystanders: Sequence[Dipole]) -> Comparison:
        """Sample the base, fit, measure, match and judge."""
        usable, lacking = bystanders_of(self.dipole, bystanders)
        steps = _Steps(self.on_step, 1 + len(candidates) * (1 + len(self.graded_strengths()) + bool(usable)))
        steps("sampling the base")
        bench = self._bench()
        watched = watch_base(bench, usable, self.bystander_n, self.seed) if usable else []
        drawn: list[_Drawn] = []
        failed: list[tuple[str, str]] = []
        for candidate in candidates:
            steps(f"fitting {candidate.label}")
            try:
                fitted = fit(candidate, self.lm, self.dipole, self.repeats)
            except UserError as error:
                failed.append((candidate.label, str(error)))
                continue
            drawn += [
                self._draw(bench, each, of, watched, steps) for each, of in self._with_null(fitted, bench)
            ]
        if not drawn:
            raise UserError(f"No control could be fitted. {failed[0][0]}: {failed[0][1]}")
        return self._compared(bench, drawn, failed, lacking)

    def graded_strengths(self) -> list[float]:
        """Strengths to measure a graded control at, without 0."""
        return sorted({*self.strengths, 1.0} - {0.0})

    def _bench(self) -> Bench:
        if not (self.dipole.held_out or self.dipole.prompts):
            raise UserError(
                f"There is nothing to continue: the dipole {self.dipole.label!r} has neither held_out nor "
                "prompts; give prompts that force a choice, such as 'If I had to choose between tea and "
                "coffee, I take'."
            )
        return make_bench(
            self.lm, self.dipole, Velma(self.lm), self.n, self.seed, self.repeats, self.max_new_tokens,
            self.tolerance, self.batch_size,
        )  # fmt: skip

    def _with_null(self, fitted: Fitted, bench: Bench) -> Iterator[tuple[Fitted, str]]:
        yield fitted, ""
        if not self.null:
            return
        eos, vocabulary = self.lm.resident.eos_ids, self.lm.resident.written
        written = sorted({t for s in bench.base.samples for t in s.token_ids} - eos)
        label, nulls = "", []
        for r, intervention in enumerate(fitted.interventions):
            found = null_of(intervention, written, self.seed + r, vocabulary)
            if found is None:
                return
            label, made = found
            nulls.append(made)
        candidate = Candidate(f"{fitted.candidate.label}: {label}", nulls[0])
        yield Fitted(candidate, tuple(nulls), (), fitted.bytes, {}), fitted.candidate.label

    def _draw(
        self, bench: Bench, fitted: Fitted, null_of: str, watched: Sequence[Watched], steps: _Steps
    ) -> _Drawn:
        label, graded = fitted.candidate.label, fitted.first.graded
        points, units = [base_point(bench)], {0.0: bench.base}
        skipped: list[tuple[float, str]] = []
        ratios: tuple[float, ...] = ()
        for strength in self.graded_strengths() if graded else (-1.0, 1.0):
            steps(f"{label} at strength {strength:g}")
            try:
                steered = fitted.apply(self.lm, strength, self.repeats)
                found, moved = measure(bench, steered, fitted.kl_bound())
                others: list[Bystander] = []
                totals: list[Change] = []
                if strength == 1.0:
                    ratios = tuple(time_ratio(bench, lm) for lm in steered)
                    if watched:
                        steps(f"bystanders of {label}")
                        others, totals = watch_control(bench, steered[0], watched, self.seed)
            except UserError as error:
                if graded or strength == 1.0:  # that a control has no other side is not worth a word
                    skipped.append((strength, str(error)))
                continue
            points.append(
                make_point(bench, strength, found, moved, fitted.judged_by.rewarded, totals, others)
            )
            units[strength] = found
        points.sort(key=lambda point: point.strength)
        return _Drawn(fitted, null_of, tuple(points), units, tuple(skipped), ratios)

    def _compared(
        self, bench: Bench, drawn: Sequence[_Drawn], failed: Sequence[tuple[str, str]], lacking: int
    ) -> Comparison:
        main = "claim_share" if bench.dipole.mentions else "velma_probability"
        own = {d.fitted.candidate.label: d.units[1.0] for d in drawn if _alone(d)}
        names = {label: float(found.kl.mean()) for label, found in own.items()}
        names = {label: kl for label, kl in names.items() if kl > 0}
        curves = _judged([self._curve(bench, d, main, names) for d in drawn], main)
        made = Comparison(
            concept=self.dipole.to_dict(),
            prompts=tuple(dict.fromkeys(bench.prompts)),
            held_out=bool(self.dipole.held_out),
            fitted_on=self.dipole.prompts,
            main=main,
            base=base_point(bench),
            curves=tuple(curves),
            kl_values=self.kl_values,
            kl_names=names,
            failed=tuple(failed),
            notes=(),
            settings=self._settings(),
            samples=tuple(bench.base.samples[: len(bench.prompts)]),
            sides=tuple(bench.base.sides[: len(bench.prompts)]),
        )
        return replace(made, notes=comparison_notes(made, lacking))

    def _settings(self) -> dict[str, Any]:
        names = ("n", "seed", "repeats", "max_new_tokens", "bystander_n", "null", "tolerance", "batch_size")
        found = {name: getattr(self, name) for name in names}
        return {**found, "strengths": [*self.graded_strengths()], "matched_kl_rule": RULE}

    def _curve(self, bench: Bench, drawn: _Drawn, main: str, names: Mapping[str, float]) -> Curve:
        fitted, given = drawn.fitted, drawn.fitted.candidate.given
        control = not isinstance(given, Intervention)
        one = drawn.units.get(1.0)
        rows = len(bench.prompts)
        return Curve(
            label=fitted.candidate.label,
            control=fitted.candidate.name,
            surface=fitted.first.surface,
            kind=fitted.first.kind,
            paper=str(getattr(given, "paper", "")) if control else "",
            settings=settings(given),
            graded=fitted.first.graded,
            null_of=drawn.null_of,
            in_loop=fitted.judged_by.rewarded,
            selected="velma" in fitted.judged_by.chosen,
            points=drawn.points,
            matched=tuple(self._matched(bench, drawn, main, names)),
            verdict=judge_curve(drawn.points, main, fitted.first.graded, drawn.skipped, bool(drawn.null_of)),
            fit_seconds=fitted.seconds,
            time_ratios=drawn.ratios,
            bytes=fitted.bytes,
            skipped=drawn.skipped,
            samples=tuple(one.samples[:rows]) if one else (),
            sides=tuple(one.sides[:rows]) if one else (),
        )

    def _matched(
        self, bench: Bench, drawn: _Drawn, main: str, names: Mapping[str, float]
    ) -> Iterator[Matched]:
        def value(found: Measured) -> NDArray[np.float64]:
            return claims(found) if share else found.probabilities

        label, share = drawn.fitted.candidate.label, main == "claim_share"
        strengths = sorted(s for s in drawn.units if s >= 0)
        units = [drawn.units[s] for s in strengths]
        for target in (*self.kl_values, *names.values()):
            if not drawn.fitted.first.graded:
                if (one := drawn.units.get(1.0)) is not None:
                    own = names.get(label, 0.0)
                    yield match_point(own, value(one), one.probabilities, target, bench.plan, share)
                continue
            tables = [np.stack([part(u) for u in units]) for part in (_kl, value, _probability)]
            yield match_curve(strengths, tables[0], tables[1], tables[2], target, bench.plan, share)


def _kl(found: Measured) -> NDArray[np.float64]:
    return found.kl


def _probability(found: Measured) -> NDArray[np.float64]:
    return found.probabilities


def _alone(drawn: _Drawn) -> bool:
    """Whether it is one point and not a curve."""
    return not drawn.fitted.first.graded and 1.0 in drawn.units and not drawn.null_of


def _judged(curves: Sequence[Curve], main: str) -> list[Curve]:
    """Curves whose verdict also says how they compare with their null."""
    nulls = {curve.null_of: curve for curve in curves if curve.null_of}
    judged = []
    for curve in curves:
        null = nulls.get(curve.label)
        sentence = null_sentence(curve, null, main) if null is not None else ""
        if sentence:
            verdict = curve.verdict._replace(sentences=(*curve.verdict.sentences, sentence))
            curve = replace(curve, verdict=verdict)
        judged.append(curve)
    return judged
