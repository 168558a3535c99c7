"""From how bad a start a method comes to the notion (recipe 3, algorithm D and the measurement protocol)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.pointing.fates import IMPOSSIBLE, fate_of
from dipole.pointing.measure import scores
from dipole.pointing.methods import Probe
from dipole.pointing.refine import COMPONENTS
from dipole.pointing.runners import RUNNERS, Run, Runner, runner
from dipole.pointing.space import Space
from dipole.pointing.starts import KINDS, corrupted
from dipole.probing.logistic import logistic
from dipole.progress import Progress, silent
from dipole.recognizers.pooled import Features
from dipole.types import MOST_COUNT, UserError, check_seed

Array = NDArray[np.float64]
Labels = NDArray[np.bool_]
INSIDE = 0.95
LOWEST = 0.55
_TIERS = 10
_FEWEST = 20


@dataclass(frozen=True)
class Grid:
    """Which starts are tried, and how.

    Attributes:
        methods: Names of `runners.RUNNERS`.
        size: Values of precision, and of recall, from 0.55 to 1.
        seeds: Starts of each kind at each point.
        width: Principal components of a layer that are used.
        components: Numbers of clusters to try.
        seed: Of the clusters and the first start.
    """

    methods: tuple[Runner, ...] = ("intersection", "fixed-point", "fixed-point-free")
    size: int = 8
    seeds: int = 5
    width: int = 24
    components: tuple[int, ...] = COMPONENTS
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            UserError: A grid of fewer than 2 values, no seed or a bad one, or a method that there is not.
        """
        for name, least, most in (("size", 2, 101), ("seeds", 1, 10_000), ("width", 1, MOST_COUNT)):
            if not least <= getattr(self, name) <= most:
                what = {"size": "A grid", "seeds": "The number of seeds", "width": "The width"}[name]
                raise UserError(
                    f"{what} must be at least {least} and at most {most:,}, and is {getattr(self, name)}."
                )
        check_seed(self.seed)
        wrong = [name for name in self.methods if name not in RUNNERS]
        if wrong or not self.methods:
            said = f"and {wrong[0]!r} is none of them" if wrong else "and none was named"
            raise UserError(f"A basin has the methods {', '.join(RUNNERS)}, {said}.")

    @property
    def values(self) -> tuple[float, ...]:
        """Values of precision and of recall."""
        return tuple(round(float(v), 4) for v in np.linspace(LOWEST, 1.0, self.size))


@dataclass(frozen=True)
class End:
    """Where one start ended; all but the start itself is NaN where it could not be made.

    Attributes:
        method: How it went on.
        kind: Of the start's errors; `topic` is the weak notion's own labels.
        precision: Of the start, against the truth of the documents that were fitted on.
        recall: Of the start.
        seed: Of the start.
        f1: On held-out documents.
        auc: On held-out documents.
        ceiling: F1 of a probe trained on the truth, in the same space at the best of the layers.
        inside: Whether F1 is at least 0.95 of it.
        fate: Which fixed point it is; see `fates`.
        share: Share of the documents fitted on that are positive at the end.
        rounds: How often labels were made anew.
        settled: Whether it had stopped changing.
        layer: Block whose features were used; -1 where there was no start.
    """

    method: str
    kind: str
    precision: float
    recall: float
    seed: int
    f1: float = float("nan")
    auc: float = float("nan")
    ceiling: float = float("nan")
    inside: bool = False
    fate: str = IMPOSSIBLE
    share: float = float("nan")
    rounds: int = 0
    settled: bool = False
    layer: int = -1


@dataclass(frozen=True, eq=False)
class Documents:
    """What is known of the documents.

    Attributes:
        features: Of the strong model.
        q: `(n,)` weak probability.
        truth: `(n,)`.
        flavour: `(n,)` a label that could be mistaken for the notion: adversarial errors fall on it.
        held_out: `(n,)` which documents nothing is fitted on.
        by_topic: Whether the flavour is only what the weak notion calls positive.
    """

    features: Features
    q: Array
    truth: Labels
    flavour: Labels
    held_out: Labels
    by_topic: bool

    @property
    def likely(self) -> Array:
        """How likely adversarial errors fall on each: its flavour, or the weak probability in tenths.

        In tenths, so that there is something left to draw among.
        """
        return np.floor(self.q * _TIERS) if self.by_topic else self.flavour.astype(np.float64)


def ends_of(documents: Documents, grid: Grid, progress: Progress = silent) -> list[End]:
    """Run every method from every start, and from the weak notion's own labels.

    Args:
        documents: With their truth, which makes the starts and measures the ends, and has no other part.
        grid: Which starts, and how.
        progress: Told of each start.

    Raises:
        UserError: Too few documents, or truth of one class among those to fit on or those held out.
    """
    fit = ~documents.held_out
    _check(documents.truth, fit)
    rows = torch.from_numpy(fit)
    seen = replace(documents.features, values=documents.features.values[rows])
    spaces = {layer: Space.fit(seen.at(layer), grid.width) for layer in seen.layers}
    judge = _Judge(documents, spaces)
    starts = list(_starts(documents, grid))
    total = len(starts) * len(grid.methods)
    ends: list[End] = []
    for name in grid.methods:
        run = runner(name, seen, spaces, grid.components, grid.seed)
        for blank, labels in starts:
            progress("start", len(ends) + 1, total)
            ends.append(judge.end(replace(blank, method=name), run, labels))
    return ends


def _starts(documents: Documents, grid: Grid) -> Iterator[tuple[End, Labels | None]]:
    fit = ~documents.held_out
    truth, likely = documents.truth[fit], documents.likely[fit]
    weak = documents.q[fit] > 0.5
    if weak.any() and not weak.all():
        precision, recall, _ = scores(weak, truth)
        yield End("", "topic", precision, recall, 0), weak
    for kind, precision, recall, seed in product(KINDS, grid.values, grid.values, range(grid.seeds)):
        # The same draw at each point would move a whole map at once.
        draw = [grid.seed + seed, KINDS.index(kind), round(1e4 * precision), round(1e4 * recall)]
        labels = corrupted(truth, precision, recall, kind, likely, np.random.default_rng(draw))
        yield End("", kind, precision, recall, seed), labels


def _check(truth: Labels, fit: Labels) -> None:
    if len(truth) < _FEWEST:
        raise UserError(f"A basin needs at least {_FEWEST} documents with labels, and got {len(truth)}.")
    for part in (truth[fit], truth[~fit]):
        if part.sum() < 2 or (~part).sum() < 2:
            raise UserError(
                f"Among the {len(truth)} documents with labels {int(truth.sum())} are positive, which leaves "
                "too few of one class to fit on and to hold out; give labels of both kinds."
            )


class _Judge:
    """Measures probes against the truth."""

    def __init__(self, documents: Documents, spaces: dict[int, Space]) -> None:
        fit = ~documents.held_out
        self.truth, self.flavour = documents.truth[fit], documents.flavour[fit]
        self.held = documents.truth[~fit]
        self.rows: dict[int, tuple[Array, Array]] = {}
        self.ceiling = 0.0
        for layer, space in spaces.items():
            rows = space.project(documents.features.at(layer))
            self.rows[layer] = rows[fit], rows[~fit]
            known = torch.from_numpy(self.truth.astype(np.float64))
            weight, bias = logistic(torch.from_numpy(rows[fit]), known, standardise=True)
            best = Probe(weight.numpy(), bias, {})
            self.ceiling = max(self.ceiling, scores(best.log_odds(rows[~fit]) > 0, self.held)[2])

    def end(self, blank: End, run: Run, start: Labels | None) -> End:
        """The record of where a start ended."""
        if start is None:
            return blank
        found = run(start)
        fitted, held = (found.probe.log_odds(rows) for rows in self.rows[found.layer])
        f1, auc = scores(held > 0, self.held)[2], area(held, self.held)
        inside = f1 >= INSIDE * self.ceiling > 0
        fate = fate_of(fitted > 0, start, self.truth, self.flavour, auc, inside)
        return replace(
            blank, f1=f1, auc=auc, ceiling=self.ceiling, inside=inside, fate=fate, rounds=found.rounds,
            share=float((fitted > 0).mean()), settled=found.settled, layer=found.layer,
        )  # fmt: skip


def area(log_odds: Array, truth: Labels) -> float:
    """Area under the ROC curve, from ranks (Mann and Whitney); ties count half."""
    from scipy.stats import rankdata

    positives = int(truth.sum())
    ranks = rankdata(log_odds)[truth].sum() - positives * (positives + 1) / 2
    return float(ranks / (positives * (len(truth) - positives)))


def summary(ends: Sequence[End]) -> list[dict[str, object]]:
    """Shares of each method and kind of error, as plain data."""
    found = []
    for method, kind in dict.fromkeys((end.method, end.kind) for end in ends):
        made = [e for e in ends if (e.method, e.kind) == (method, kind) and e.fate != IMPOSSIBLE]
        asked = sum((e.method, e.kind) == (method, kind) for e in ends)
        fates = [e.fate for e in made]
        found.append(
            {
                "method": method,
                "kind": kind,
                "starts": asked,
                "made": len(made),
                "inside": sum(e.inside for e in made) / len(made) if made else float("nan"),
                "f1": float(np.mean([e.f1 for e in made])) if made else float("nan"),
                "rounds": float(np.median([e.rounds for e in made])) if made else float("nan"),
                "unsettled": sum(not e.settled for e in made),
                "fates": {
                    fate: fates.count(fate) for fate in sorted(set(fates), key=lambda f: -fates.count(f))
                },
            }
        )
    return found
