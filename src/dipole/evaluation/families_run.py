"""A comparison across controls, step by step: sample the base, fit, measure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from dipole.concepts import Dipole
from dipole.effects import Bystander, Change
from dipole.evaluation.bench import (
    COSTS,
    TOWARDS,
    Bench,
    families_of,
    made_for,
    make_bench,
    prompts_of,
    sorted_out,
)
from dipole.evaluation.families_curves import Drawn, curves, own_distances, sides
from dipole.evaluation.families_fit import Candidate, Fitted, fit
from dipole.evaluation.families_matched import RULE
from dipole.evaluation.families_notes import comparison_notes
from dipole.evaluation.families_null import null_of
from dipole.evaluation.families_origin import comparison_origin
from dipole.evaluation.families_points import make_point, time_ratio
from dipole.evaluation.families_records import Comparison
from dipole.evaluation.meters.bystanders import Watch, bystanders_of, watch
from dipole.evaluation.meters.protocol import Family, Judge, Meter
from dipole.evaluation.meters.recognizers import ways
from dipole.origin import now
from dipole.progress import Progress
from dipole.protocols import LM, Recognizer
from dipole.registry import make_recognizer
from dipole.types import UserError


@dataclass
class _Steps:
    """Counts steps; the total grows when a null turns up."""

    progress: Progress
    total: int
    done: int = 0

    def __call__(self, what: str) -> None:
        self.done += 1
        self.progress("", self.done, max(self.total, self.done), what)


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
    progress: Progress
    meters: tuple[Recognizer | Meter | str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can't be measured."""
        for name in ("n", "repeats", "max_new_tokens", "bystander_n"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, and is {getattr(self, name)}.")
        for strength in self.strengths:
            if not math.isfinite(strength):
                raise UserError(f"Strengths must be finite numbers such as -1,0.5,2, and one is {strength}.")
        for value in self.kl_values:
            if not 0 < value < math.inf:
                raise UserError(f"KL values must be above 0 nats and finite, and one is {value}.")
        if self.lm.applied:
            raise UserError(
                "The LM to compare controls on is already steered (by a "
                f"{self.lm.applied[0].intervention.kind}); give the base."
            )

    def run(self, candidates: Sequence[Candidate], bystanders: Iterable[Dipole]) -> Comparison:
        """Sample the base, fit, measure, match and judge."""
        started = now()
        usable, lacking = bystanders_of(self.dipole, bystanders)
        steps = _Steps(self.progress, 1 + len(candidates) * (1 + len(self.graded_strengths()) + bool(usable)))
        steps("sampling the base")
        bench = self._bench()
        watched = watch(
            self.lm, usable, bench.subject.judges[0], self.bystander_n, self.seed,
            self.max_new_tokens, self.batch_size,
        )  # fmt: skip
        drawn: list[Drawn] = []
        failed: list[tuple[str, str]] = []
        for candidate in candidates:
            steps(f"fitting {candidate.label}")
            try:
                fitted = fit(candidate, self.lm, self.dipole, self.repeats)
            except UserError as error:
                failed.append((candidate.label, str(error)))
                continue
            pairs = self._with_null(fitted, bench)
            drawn += [self._draw(bench, each, of, watched, steps) for each, of in pairs]
        if not drawn:
            raise UserError(f"No control could be fitted. {failed[0][0]}: {failed[0][1]}")
        made = self._compared(bench, drawn, failed)
        made = replace(made, origin=comparison_origin(self.lm, made, started))
        return replace(made, notes=comparison_notes(made, lacking))

    def graded_strengths(self) -> list[float]:
        """Strengths to measure a graded control at, without 0."""
        return sorted({*self.strengths, 1.0} - {0.0})

    def _bench(self) -> Bench:
        judges, others = sorted_out(self.meters)
        judges.insert(0, Judge(make_recognizer("velma", self.lm)))
        return make_bench(
            self.lm, self.dipole, prompts_of(self.dipole), [*self._standing(), *others], judges, self.n,
            self.seed, self.max_new_tokens, self.batch_size, self.repeats,
        )  # fmt: skip

    def _standing(self) -> list[Family]:
        """What is measured whether or not it is asked for."""
        return [*families_of(TOWARDS), partial(ways, tolerance=self.tolerance), *families_of(COSTS)]

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

    def _draw(self, bench: Bench, fitted: Fitted, null_of: str, watched: Watch, steps: _Steps) -> Drawn:
        label, graded, optimised = fitted.candidate.label, fitted.first.graded, fitted.judged_by.rewarded
        points, reads = [make_point(bench, 0.0, bench.base)], {0.0: bench.base}
        skipped: list[tuple[float, str]] = []
        ratios: tuple[float, ...] = ()
        for strength in self.graded_strengths() if graded else (-1.0, 1.0):
            steps(f"{label} at strength {strength:g}")
            try:
                steered = fitted.apply(self.lm, strength, self.repeats)
                found = bench.read(steered, bench.subject.under(optimised, strength))
                others: list[Bystander] = []
                totals: list[Change] = []
                if strength == 1.0:
                    ratios = tuple(time_ratio(bench, lm) for lm in steered)
                    if watched.dipoles:
                        steps(f"bystanders of {label}")
                        others, totals = watched.effects(steered[0])
            except UserError as error:
                if graded or strength == 1.0:  # that a control has no other side is not worth a word
                    skipped.append((strength, str(error)))
                continue
            points.append(make_point(bench, strength, found, totals, others))
            reads[strength] = found
        points.sort(key=lambda point: point.strength)
        return Drawn(fitted, null_of, tuple(points), reads, tuple(skipped), ratios)

    def _compared(
        self, bench: Bench, drawn: Sequence[Drawn], failed: Sequence[tuple[str, str]]
    ) -> Comparison:
        main = "claim_share" if self.dipole.mentions else "velma_probability"
        names = own_distances(drawn)
        samples = bench.base.samples[: len(bench.prompts)]
        return Comparison(
            concept=self.dipole.to_dict(),
            prompts=tuple(dict.fromkeys(bench.prompts)),
            held_out=bool(self.dipole.held_out),
            fitted_on=self.dipole.prompts,
            main=main,
            base=make_point(bench, 0.0, bench.base),
            curves=curves(bench, drawn, main, self.kl_values, names),
            kl_values=self.kl_values,
            kl_names=names,
            failed=tuple(failed),
            notes=(),
            settings=self._settings(bench),
            samples=samples,
            sides=sides(bench, samples),
        )

    def _settings(self, bench: Bench) -> dict[str, Any]:
        names = ("n", "seed", "repeats", "max_new_tokens", "bystander_n", "null", "tolerance", "batch_size")
        found = {name: getattr(self, name) for name in names}
        usual = replace(bench.subject, judges=bench.subject.judges[:1])
        standing = {meter.name for meter in made_for(self._standing(), usual)}
        asked = [meter.name for meter in bench.base.meters if meter.name not in standing]
        found |= {"meters": asked} if asked else {}
        return {**found, "strengths": [*self.graded_strengths()], "matched_kl_rule": RULE}
