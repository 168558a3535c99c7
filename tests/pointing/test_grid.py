"""Starts of known precision and recall, what they end at, and the map of a small world."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from dipole.pointing.fates import IMPOSSIBLE, fate_of
from dipole.pointing.grid import Documents, End, Grid, area, ends_of, summary
from dipole.pointing.methods import Weak
from dipole.pointing.refine import refine
from dipole.pointing.runners import Overlapping, runner
from dipole.pointing.space import Space
from dipole.pointing.starts import KINDS, corrupted
from dipole.recognizers.pooled import Features
from dipole.types import UserError
from tolerance import POSTERIOR

Labels = NDArray[np.bool_]


def measured(labels: Labels, truth: Labels) -> tuple[float, float]:
    hits = sum(1 for a, b in zip(labels, truth, strict=True) if a and b)
    return hits / sum(labels.tolist()), hits / sum(truth.tolist())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("precision", "recall"), [(0.55, 1.0), (1.0, 0.55), (0.7, 0.8), (1.0, 1.0)])
def test_a_start_has_its_precision_and_recall(kind: str, precision: float, recall: float) -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.3
    labels = corrupted(truth, precision, recall, kind, rng.random(4000), rng)  # type: ignore[arg-type]
    assert labels is not None
    assert measured(labels, truth) == pytest.approx((precision, recall), abs=1e-3)


def test_adversarial_errors_are_those_that_the_topic_would_make() -> None:
    truth = np.arange(100) < 40
    likely = np.random.default_rng(3).permutation(100).astype(float)
    labels = corrupted(truth, 0.6, 0.75, "adversarial", likely, np.random.default_rng(0))
    assert labels is not None
    added, missed = labels & ~truth, truth & ~labels
    assert added.sum() == 20
    assert missed.sum() == 10
    assert likely[added].min() > likely[~truth & ~labels].max()
    assert likely[missed].max() < likely[truth & labels].min()


def test_equally_likely_documents_are_drawn_among() -> None:
    truth = np.arange(40) < 10
    likely = (np.arange(40) < 30).astype(float)
    rng = np.random.default_rng(0)
    starts = [corrupted(truth, 0.5, 0.5, "adversarial", likely, rng) for _ in range(200)]
    seen = Counter(int(i) for labels in starts if labels is not None for i in np.flatnonzero(labels))
    assert set(seen) == set(range(30))
    assert min(seen[i] for i in range(10)) > 60  # of 100 expected
    assert min(seen[i] for i in range(10, 30)) > 25  # of 50 expected


def test_uniform_errors_fall_on_all() -> None:
    truth = np.arange(40) < 10
    likely = np.arange(40, dtype=float)
    rng = np.random.default_rng(0)
    starts = [corrupted(truth, 0.5, 1.0, "uniform", likely, rng) for _ in range(200)]
    seen = Counter(int(i) for labels in starts if labels is not None for i in np.flatnonzero(labels & ~truth))
    assert set(seen) == set(range(10, 40))
    assert min(seen.values()) > 35  # of 67 expected


def test_a_start_that_cannot_be_made_is_none() -> None:
    truth = np.arange(10) < 6
    rng = np.random.default_rng(0)
    assert corrupted(truth, 0.55, 1.0, "uniform", np.zeros(10), rng) is None  # 5 negatives of 4
    assert corrupted(truth, 0.6, 1.0, "uniform", np.zeros(10), rng) is not None
    assert corrupted(np.arange(10) < 1, 1.0, 0.3, "uniform", np.zeros(10), rng) is None  # no positive left


def test_area_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    odds, truth = rng.integers(0, 6, 80).astype(float), rng.random(80) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in odds[truth] for b in odds[~truth]]
    assert area(odds, truth) == pytest.approx(np.mean(pairs), abs=POSTERIOR)
    assert area(odds, truth) == pytest.approx(roc_auc_score(truth, odds), abs=POSTERIOR)


# 100 documents in four cells of 25: neither, flavour alone, notion alone, both.
CELL = np.repeat([0, 1, 2, 3], 25)
TRUTH, FLAVOUR = CELL >= 2, CELL % 2 == 1
START = np.arange(100) % 2 == 0


def cells(*which: int) -> Labels:
    return np.isin(CELL, which)


@pytest.mark.parametrize(
    ("end", "auc", "fate"),
    [
        (cells(2, 3), 0.6, "other"),  # told inside by the caller alone
        (cells(0, 1, 2, 3), 1.0, "all"),
        (cells(), 1.0, "none"),
        (cells(0, 1), 0.0, "complement"),
        (cells(1, 3), 0.5, "flavour"),
        (cells(1, 2, 3), 0.9, "either"),
        (cells(1, 2, 3), 0.99, "share"),
        (cells(2), 0.9, "part"),
        (cells(3), 0.9, "part"),
        (cells(0, 2, 3), 0.9, "wider"),
        (cells(0), 0.2, "other"),
        (START, 0.5, "start"),
        (START & (np.arange(100) > 8), 0.5, "start"),
        (cells(0, 1) & (np.arange(100) > 3), 0.5, "complement"),
    ],
)
def test_fates(end: Labels, auc: float, fate: str) -> None:
    found = fate_of(end, START, TRUTH, FLAVOUR, auc, inside=False)
    if (end == TRUTH).all():
        assert found in ("part", "wider")
    else:
        assert found == fate
    assert fate_of(end, START, TRUTH, FLAVOUR, auc, inside=True) == "notion"


def world(n: int = 480, apart: float = 6.0, seed: int = 0) -> Documents:
    """Four far clusters at two layers, the cells of notion and flavour; those of the notion are nearest."""
    rng = np.random.default_rng(seed)
    cell = rng.choice(4, n, p=[0.3, 0.3, 0.2, 0.2])
    truth, flavour = cell >= 2, cell % 2 == 1
    values = rng.normal(size=(n, 2, 6))
    for layer in (0, 1):
        values[:, layer, 0] += 1.4 * apart * truth
        values[:, layer, 1] += apart * flavour
    features = Features((1, 2), torch.from_numpy(values).float(), (1.0, 1.0), 0)
    q = np.where(flavour, 0.8, 0.2) + rng.uniform(-0.1, 0.1, n)
    return Documents(features, q, truth, flavour, np.arange(n) % 3 == 0, False)


SMALL = Grid(("intersection", "fixed-point", "fixed-point-free", "mixture", "kmeans"), 3, 2, 6, (4, 6))


@pytest.fixture(scope="module")
def ends() -> list[End]:
    return ends_of(world(), SMALL)


def test_every_start_is_run_by_every_method(ends: list[End]) -> None:
    assert len(ends) == 5 * (1 + 2 * 3 * 3 * 2)
    keys = Counter((e.method, e.kind, e.precision, e.recall, e.seed) for e in ends)
    assert set(keys.values()) == {1}
    assert {e.precision for e in ends if e.kind != "topic"} == {0.55, 0.775, 1.0}
    assert all(e.fate != IMPOSSIBLE for e in ends)


def test_where_starts_end(ends: list[End]) -> None:
    at = {(row["method"], row["kind"]): row for row in summary(ends)}
    assert at["intersection", "uniform"]["inside"] == 1.0
    assert at["intersection", "adversarial"]["inside"] < 1.0
    # As many stay positive as at the start: inside only where precision and recall are about equal.
    held = [e for e in ends if (e.method, e.kind) == ("fixed-point", "uniform")]
    assert {e.inside for e in held if e.precision == e.recall > 0.7} == {True}
    assert {e.inside for e in held if abs(e.precision - e.recall) > 0.2} == {False}
    assert at["fixed-point-free", "uniform"]["inside"] > at["fixed-point", "uniform"]["inside"]
    topic = [e for e in ends if e.kind == "topic"]
    assert {e.fate for e in topic if e.method.startswith("fixed-point")} <= {"flavour", "start"}
    assert len(topic) == 5
    # One k-means cluster can be no more than one cell; a node of the tree can be both.
    assert {e.method for e in ends if e.precision == e.recall == 1.0 and not e.inside} <= {"kmeans"}


def test_the_ceiling_is_a_probe_of_the_truth_in_the_same_space() -> None:
    documents = world(apart=0.9)
    end = ends_of(documents, Grid(("fixed-point",), 2, 1, 6))[-1]
    fit = ~documents.held_out
    space = Space.fit(documents.features.at(2)[torch.from_numpy(fit)], 6)
    rows = space.project(documents.features.at(2))
    rows = (rows - rows[fit].mean(0)) / rows[fit].std(0)
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(rows[fit], documents.truth[fit])
    said, truth = model.predict(rows[~fit]), documents.truth[~fit]
    f1 = 2 * (said & truth).sum() / (said.sum() + truth.sum())
    assert f1 < 0.95
    assert end.ceiling == pytest.approx(f1, abs=POSTERIOR)
    assert end.layer == 2
    assert end.inside == (end.f1 >= 0.95 * f1)


@pytest.mark.parametrize("name", ["intersection", "kmeans"])
def test_overlap_is_that_of_pointing(name: str) -> None:
    documents = world(apart=2.5)
    features = documents.features
    spaces = {layer: Space.fit(features.at(layer), 6) for layer in (1, 2)}
    run = runner(name, features, spaces, (3, 5), 0)  # type: ignore[arg-type]
    assert isinstance(run, Overlapping)
    for seed in range(3):
        start = documents.truth ^ (np.random.default_rng(seed).random(480) < 0.3)
        found = run(start)
        notion = refine(features, Weak(start.astype(float), np.zeros((480, 0))), name, (3, 5), 6)  # type: ignore[arg-type]
        assert found.layer == notion.layer
        odds = found.probe.log_odds(spaces[found.layer].project(features.at(found.layer)))
        np.testing.assert_allclose(odds, notion.log_odds(features), atol=1e-6)


def test_truth_of_held_out_documents_changes_no_start_and_no_probe(ends: list[End]) -> None:
    documents = world()
    truth = documents.truth.copy()
    truth[documents.held_out] = np.random.default_rng(0).permutation(truth[documents.held_out])
    others = ends_of(dataclasses.replace(documents, truth=truth), SMALL)
    assert [(e.share, e.rounds, e.layer) for e in others] == [(e.share, e.rounds, e.layer) for e in ends]
    assert [e.f1 for e in others] != [e.f1 for e in ends]


def test_held_out_documents_are_not_fitted_on() -> None:
    documents, grid = world(), Grid(("mixture", "fixed-point"), 2, 1, 3)
    values = documents.features.values.clone()
    values[torch.from_numpy(documents.held_out)] *= 3.0
    features = dataclasses.replace(documents.features, values=values)
    one, other = (ends_of(d, grid) for d in (documents, dataclasses.replace(documents, features=features)))
    assert [(e.share, e.rounds, e.fate == "all") for e in one] == [
        (e.share, e.rounds, e.fate == "all") for e in other
    ]


def test_without_a_flavour_errors_are_the_topics_own() -> None:
    documents = dataclasses.replace(world(), by_topic=True)
    assert set(documents.likely) <= set(range(11))
    q = documents.q
    assert (documents.likely <= 10 * q).all()
    assert (documents.likely > 10 * q - 1).all()
    assert (world().likely == world().flavour).all()


def test_starts_that_cannot_be_made_are_marked() -> None:
    documents = world()
    rare = dataclasses.replace(documents, truth=~(documents.truth & documents.flavour))
    found = ends_of(rare, Grid(("mixture",), 3, 1, 6))
    lost = [e for e in found if e.fate == IMPOSSIBLE]
    assert lost
    assert all(e.precision < 0.8 and math.isnan(e.f1) and not e.inside and e.layer == -1 for e in lost)
    row = next(r for r in summary(found) if r["kind"] == "uniform")
    assert row["starts"] == 9
    assert row["made"] == 9 - sum(e.kind == "uniform" for e in lost)
    assert IMPOSSIBLE not in row["fates"]  # type: ignore[operator]


def test_a_seed_gives_the_same_map() -> None:
    grid = Grid(("intersection", "mixture", "fixed-point"), 2, 2, 6, (4,), seed=1)
    one, same, other = (ends_of(world(), g) for g in (grid, grid, dataclasses.replace(grid, seed=7)))
    assert one == same
    assert [e.share for e in other] != [e.share for e in one]


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    found = ends_of(world(), Grid(("mixture",), 2, 1, 6), lambda _, done, of: told.append((done, of)))
    assert told == [(k + 1, len(found)) for k in range(len(found))]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"size": 1}, "A grid must be at least 2 and at most 101, and is 1"),
        ({"seeds": 0}, "number of seeds must be at least 1"),
        ({"width": 0}, "width must be at least 1"),
        ({"methods": ("magic",)}, "'magic' is none of them"),
        ({"methods": ()}, "none was named"),
    ],
)
def test_a_grid_that_means_nothing_is_refused(fields: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Grid(**fields)  # type: ignore[arg-type]


def test_labels_of_one_class_are_refused() -> None:
    documents = world()
    with pytest.raises(UserError, match="0 are positive"):
        ends_of(dataclasses.replace(documents, truth=np.zeros(480, dtype=bool)), SMALL)
    held_alone = documents.truth & documents.held_out
    with pytest.raises(UserError, match="too few of one class"):
        ends_of(dataclasses.replace(documents, truth=held_alone), SMALL)
