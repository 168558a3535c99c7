"""A record of every verb of the Python interface: what it returns, and what it leaves in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from golden import _api, corpora, plain
from golden.controls import DIPOLE, READ, TRAINED
from golden.table import EMBEDDING, Case, Tolerance

QUICK = {"n": 4, "max_new_tokens": 8}
# Float64 over float32 activations; the last steps are regressions that stop at a tolerance of their own.
FITTED = Tolerance(2e-3, 2e-3)


def _others() -> list[Any]:
    ready = _api.load_arsenal("microworld").dipoles
    return [dipole for dipole in ready if dipole.name in ("tea", "cats")]


def _boost(place: Path) -> Any:
    made = _api.make_control("boost", {"weights": "2", **QUICK}).fit(_api.lm("tiny"), DIPOLE)
    made.save(place / "boost")
    return _api.load_intervention(place / "boost")


def _compare(place: Path) -> Any:
    lm = _api.lm("tiny")
    effect = _api.compare(
        lm, _boost(place).apply(lm), DIPOLE, seed=3, bystanders=_others(), bystander_n=3, **QUICK
    )
    return plain.plain(_api.effect_to_dict(effect))


def _compare_in_loop(place: Path) -> Any:
    """With a reward, on the prompts that were trained on."""
    lm = _api.lm("mini")
    effect = _api.compare(
        lm, lm, DIPOLE, DIPOLE.prompts, seed=1, reward=_api.make_recognizer("mentions", lm), **QUICK
    )
    return plain.plain(_api.effect_to_dict(effect))


def _compare_controls(place: Path) -> Any:
    lm = _api.lm("tiny")
    vector = _api.make_control("vector", {"layers": "1", "scales": "0.3", **QUICK})
    prompt = _api.make_control("prompt", {"shots": "0", "candidates": 1, **QUICK})
    found = _api.compare_controls(
        lm,
        DIPOLE,
        [("direction", vector), prompt],
        strengths=(-1,),
        seed=2,
        repeats=2,
        bystanders=_others(),
        bystander_n=2,
        kl_values=(0.1, 3.0),
        **QUICK,
    )
    return plain.plain(_api.comparison_to_dict(found))


def _sweep(place: Path) -> Any:
    found = _api.sweep(_api.lm("tiny"), DIPOLE, _boost(place), (-0.5, 1.0), **QUICK)
    return plain.plain(_api.comparison_to_dict(found))


def _fit(place: Path) -> Any:
    control = _api.make_control("vector", {"layers": "1,2", "scales": "0.1,0.3", **QUICK})
    found = _api.fit(_api.lm("mini"), DIPOLE, control)
    _api.save(found, place / "out")
    returned = {"kind": found.intervention.kind, "selection": found.selection, "verdict": found.verdict}
    return {"returned": plain.plain(returned), "folder": plain.folder(place / "out", place)}


def _inoculate(place: Path) -> Any:
    control = _api.make_control(
        "ppo", {"rounds": 2, "batch_size": 8, "max_new_tokens": 8, "anchor_size": 4, "ppo_epochs": 2}
    )
    found = _api.inoculate_in(place / "out", _api.lm("tiny"), DIPOLE, control, bystanders=_others(), n=6)
    assert found is not None
    returned = plain.plain(found.to_dict())
    return {"returned": returned, "folder": plain.folder(place / "out", place, returned)}


def _topics(place: Path) -> Any:
    corpus = _api.open_corpus(corpora.stories(place) / "docs.jsonl")
    settings = _api.LDA(n_topics=2, iterations=6, restarts=2, seed=1)
    found = _api.topics(corpus, settings, words=("thief", "police"))
    _api.save(found, place / "out")
    returned = {"topics": found.topics, "notes": found.notes, "chosen": found.chosen}
    return {"returned": plain.plain(returned, place), "folder": plain.folder(place / "out", place)}


def _point(steer: str, place: Path) -> Any:
    folder = corpora.stories(place)
    lm, out = _api.lm("tiny"), place / "out"
    found = _api.point(
        lm,
        corpora.topic(folder),
        _api.open_corpus(folder / "docs.jsonl"),
        _api.Pointing(n=2, max_new_tokens=8, layers="1,2", steer=steer),
        prompts=["Here is a story."],
        truth=_api.read_labels(folder / "truth.csv"),
        flavour=_api.read_labels(folder / "crime.csv"),
    )
    _api.save(found, out)
    said = _api.load_fitted(str(out), lambda _: lm).score(["A thief came.", "", "They kissed."], None)
    returned = plain.plain(found.to_dict(), place)
    return {
        "returned": returned,
        "map": plain.plain(found.documents[:4]),
        "scores": plain.scores(said),
        "folder": plain.folder(out, place, returned),
    }


def _basin(place: Path) -> Any:
    folder = corpora.stories(place)
    found = _api.basin(
        _api.lm("tiny"),
        corpora.topic(folder),
        _api.open_corpus(folder / "docs.jsonl"),
        _api.read_labels(folder / "truth.csv"),
        _api.Grid(("intersection", "fixed-point"), size=2, seeds=1, width=6, components=(3, 4)),
        layers="1,2",
    )
    _api.save(found, place / "out")
    returned = plain.plain(found.to_dict(), place)
    return {"returned": returned, "folder": plain.folder(place / "out", place, returned)}


def _translate(place: Path) -> Any:
    folder = corpora.stories(place)
    source, target = _api.lm("tiny"), _api.lm("mini")
    control = _api.make_control("vector", {"layers": "1", "scales": "0.3", **QUICK})
    control.fit(source, DIPOLE).save(place / "vector")
    vector: Any = _api.load_intervention(place / "vector")
    corpus = _api.open_corpus(folder / "docs.jsonl")
    settings = _api.Translation(n=2, max_new_tokens=6)
    found = _api.translate(vector, source, target, corpus, dipole=DIPOLE, settings=settings)
    _api.save(found, place / "out")
    return {"chosen": found.chosen.target_layer, "folder": plain.folder(place / "out", place)}


CASES: Mapping[str, Case] = {
    "verb-compare": Case(_compare, READ, EMBEDDING),
    "verb-compare-in-loop": Case(_compare_in_loop, READ, EMBEDDING),
    "verb-compare-controls": Case(_compare_controls, READ, EMBEDDING),
    "verb-sweep": Case(_sweep, READ, EMBEDDING),
    "verb-fit": Case(_fit, READ),
    "verb-inoculate": Case(_inoculate, TRAINED, EMBEDDING),
    "verb-topics": Case(_topics, READ),
    "verb-point": Case(lambda place: _point("fudge", place), FITTED),
    "verb-point-vector": Case(lambda place: _point("vector", place), FITTED),
    "verb-basin": Case(_basin, FITTED),
    "verb-translate": Case(_translate, FITTED),
}
