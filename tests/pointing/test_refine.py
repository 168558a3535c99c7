"""One notion from weak labels and features at several layers."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dipole.pointing.methods import METHODS, Method, Weak
from dipole.pointing.refine import FALLBACK, diffuse, refine, unstable
from dipole.recognizers.pooled import Features
from dipole.types import UserError
from tolerance import MOMENTS

Array = NDArray[np.float64]
LAYERS = (1, 3, 5)
_SIZES = (200, 100, 220, 180, 200)  # the notion; the neighbour in words; three others


def world(seed: int = 0) -> tuple[Features, Weak, NDArray[np.bool_]]:
    """Five clusters. The weak label has most of the first, and the whole of the second, far off."""
    rng = np.random.default_rng(seed)
    cluster = rng.permutation(np.repeat(np.arange(5), _SIZES))
    values = []
    for layer in LAYERS:
        centres = rng.normal(size=(5, 12)) * 2.5
        centres[2] = centres[0] + rng.normal(size=12) * 1.6  # what the notion is like, and its words are not
        values.append((centres[cluster] + rng.normal(size=(len(cluster), 12))) * layer)
    truth = cluster == 0
    q = np.where(truth, np.where(rng.random(len(cluster)) < 0.8, 0.9, 0.1), 0.05)
    q[cluster == 1] = 0.8
    stacked = torch.from_numpy(np.stack(values, 1)).float()
    return Features(LAYERS, stacked, (1.0,) * 3, 0), Weak(q, np.zeros((len(q), 0))), truth


def f1(said: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (said & truth).sum() / (said.sum() + truth.sum()))


@pytest.mark.parametrize("seed", range(2))
def test_a_whole_wrong_cluster_in_the_weak_label_is_left_out(seed: int) -> None:
    features, weak, truth = world(seed)
    assert f1(weak.q > 0.5, truth) < 0.8
    found = refine(features, weak, components=(5, 8), width=8)
    assert f1(found.log_odds(features) > 0, truth) > 0.97
    # Nothing that follows the labels alone can tell the wrong cluster from the right one.
    for method in ("difference", "probe"):
        assert f1(refine(features, weak, method, width=8).log_odds(features) > 0, truth) < 0.85


def test_the_most_stable_of_all_candidates_is_taken() -> None:
    features, weak, _ = world()
    found = refine(features, weak, "intersection", components=(4, 5), width=8)
    tried = found.facts["candidates"]
    assert [(c["layer"], c["components"]) for c in tried] == [(k, c) for k in LAYERS for c in (4, 5)]
    best = max(tried, key=lambda c: c["stability"])
    assert (found.facts["layer"], found.facts["stability"]) == (best["layer"], best["stability"])
    assert found.layer == best["layer"]
    assert all(c["stability"] <= 1 for c in tried)
    assert found.facts["weak_share"] == pytest.approx(float((weak.q > 0.5).mean()))
    json.dumps(found.facts)


@pytest.mark.parametrize("method", METHODS)
def test_a_notion_is_a_linear_function_of_features(method: Method) -> None:
    features, weak, _ = world()
    found = refine(features, weak, method, components=(5,), width=6)
    assert found.method == method
    assert found.weight.shape == (12,)
    assert found.layer in LAYERS
    if method not in ("intersection", "kmeans"):
        assert found.layer == 3
        assert len(found.facts["candidates"]) == 1
        assert found.facts["stability"] is None
    rows = features.values[:, LAYERS.index(found.layer)].double()
    want = [float(sum(row * found.weight)) + found.bias for row in rows[:20]]
    np.testing.assert_allclose(found.log_odds(features)[:20], want, atol=MOMENTS * 10)


def some(features: Features, weak: Weak, n: int) -> tuple[Features, Weak]:
    return Features(LAYERS, features.values[:n], features.norms, 0), Weak(weak.q[:n], weak.words[:n])


def test_few_documents_make_few_clusters() -> None:
    features, weak, _ = world()
    found = refine(*some(features, weak, 25), "intersection")
    assert {c["components"] for c in found.facts["candidates"]} == {5}


def test_refusals() -> None:
    features, weak, _ = world()
    with pytest.raises(UserError, match="needs at least 20 documents, and got 19"):
        refine(*some(features, weak, 19))
    for value, said in ((0.3, "no document is"), (0.7, "every document is")):
        with pytest.raises(UserError, match=f"{said} more than half about it"):
            refine(features, Weak(np.full(len(weak.q), value), weak.words))


def test_auto_is_the_intersection_where_the_model_has_what_is_pointed_at() -> None:
    features, weak, _ = world()
    found = refine(features, weak, components=(5, 8), width=8)
    asked = refine(features, weak, "intersection", components=(5, 8), width=8)
    assert found.method == "intersection"
    assert "instead_of" not in found.facts
    assert torch.equal(found.weight, asked.weight)
    assert diffuse(found, features) is None
    assert unstable(found) is None


def test_auto_trains_itself_where_the_topic_is_diffuse() -> None:
    rng = np.random.default_rng(0)
    cluster = rng.permutation(np.repeat([0, 1, 2], [100, 750, 50]))
    centres = np.zeros((3, 12))
    centres[1, 0], centres[2, 1] = 6, 60  # the notion and most others side by side, a few far off
    values = torch.from_numpy(centres[cluster] + rng.normal(size=(900, 12))).float()
    features, truth = Features((1,), values[:, None], (1.0,), 0), cluster == 0
    spread = Weak(np.where(truth, 0.6, 0.45), np.zeros((900, 0)))
    forced = refine(features, spread, "intersection", components=(3, 4), width=8)
    assert (forced.log_odds(features) > 0).mean() > 0.8
    found = refine(features, spread, components=(3, 4), width=8)
    assert found.method == FALLBACK
    assert found.facts["instead_of"]["method"] == "intersection"
    assert found.facts["instead_of"]["reason"] == diffuse(forced, features)
    assert "diffuse" in found.facts["instead_of"]["reason"]
    assert f1(found.log_odds(features) > 0, truth) > 0.95
    json.dumps(found.facts)


def test_what_depends_on_how_it_is_looked_at_is_said() -> None:
    features, weak, _ = world()
    found = refine(features, weak, components=(5, 8), width=8)
    shaky = replace(found, facts={**found.facts, "stability": 0.59})
    assert "agreement beyond chance 0.59" in str(unstable(shaky))
    assert unstable(replace(found, facts={**found.facts, "stability": 0.61})) is None
    assert unstable(refine(features, weak, "difference", width=8)) is None
    assert "100% of the documents" in str(diffuse(replace(found, bias=1e6), features))
