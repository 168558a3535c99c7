"""Detective stories: from a topic that is wrong about half of them to the model's own notion.

The corpus is the microworld's, four cells of equal size: {detective plot or not} x {crime words or not}.
Topic models of few words are fitted with several seeds; every topic whose precision against the truth lies in
0.6 to 0.85, with at least 0.3 recall, is taken (the truth qualifies the starting point, as in the recipe, and
takes no part in what follows). Each is refined by each method; the first of each corpus also writes, and is
judged by the world's own judge. Others of one corpus write the same where they come to the same notion.

    python benchmarks/detective.py --out results.jsonl --corpora 4 --seeds 10 --texts 400
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

import dipole
from dipole.corpora.corpus import open_corpus, read_labels
from dipole.microworld import judge
from dipole.microworld.cells import write_cells
from dipole.pointing.methods import METHODS
from dipole.pointing.point import point
from dipole.pointing.record import Settings
from dipole.recognizers.lda import Settings as LDA
from dipole.recognizers.topic import TopicModel, TopicScore


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one a topic and method")
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--cell", type=int, default=400, help="stories a cell")
    parser.add_argument("--corpora", type=int, default=4)
    parser.add_argument("--seeds", type=int, default=10, help="topic models a corpus")
    parser.add_argument("--topics", type=int, default=3)
    parser.add_argument("--max-words", type=int, default=40)
    parser.add_argument("--texts", type=int, default=400)
    parser.add_argument("--methods", default=",".join(METHODS))
    flags = parser.parse_args()
    lm = dipole.load(flags.model)
    with tempfile.TemporaryDirectory() as place, flags.out.open("a", encoding="utf-8") as out:
        for corpus_seed in range(flags.corpora):
            folder = Path(place, str(corpus_seed))
            write_cells(folder, flags.cell, corpus_seed)
            written = False
            corpus, truth = open_corpus(folder / "docs.jsonl"), read_labels(folder / "truth.csv")
            for seed in range(flags.seeds):
                settings = LDA(flags.topics, restarts=1, seed=seed, max_words=flags.max_words)
                model = TopicModel.fit(corpus, settings)
                for index, precision, recall in qualifying(model, truth):
                    pointer = TopicScore(model, index)
                    for method in flags.methods.split(","):
                        texts = flags.texts if method == "intersection" and not written else 0
                        written = written or texts > 0
                        # texts of each corpus have random numbers of their own
                        draw = corpus_seed if texts else 0
                        record = run(lm, pointer, corpus, folder, method, texts, draw)
                        record |= {"corpus": corpus_seed, "seed": seed, "topic": index}
                        record |= {"weak_precision": precision, "weak_recall": recall}
                        print(json.dumps(record), file=out, flush=True)
                        print(corpus_seed, seed, index, method, f"{record['f1']}", flush=True)


def qualifying(model: TopicModel, truth: dict[str, bool]) -> list[tuple[int, float, float]]:
    """Topics with a precision of 0.6 to 0.85 and a recall of at least 0.3."""
    assert model.training is not None
    labels = np.array([truth[name] for name in model.training.ids])
    found = []
    for index in range(model.n_topics):
        said = model.training.theta[:, index] > 0.5
        if not said.any():
            continue
        precision, recall = float(labels[said].mean()), float(said[labels].mean())
        if 0.6 <= precision <= 0.85 and recall >= 0.3:
            found.append((index, precision, recall))
    return found


def run(
    lm: dipole.LM, pointer: TopicScore, corpus: object, folder: Path, method: str, texts: int, seed: int
) -> dict:
    """Point, and what came of it as plain data."""
    started = time.perf_counter()
    pointed = point(
        lm, pointer, corpus, Settings(method=method, n=texts, seed=seed),
        prompts=["Here is a story."], truth=read_labels(folder / "truth.csv"),
        flavour=read_labels(folder / "crime.csv"), judge=judge.is_detective,
    )  # fmt: skip
    readings = {reading.name: reading for reading in pointed.readings}
    return {
        "method": method,
        "layer": pointed.notion["layer"],
        "stability": pointed.notion["stability"],
        "f1": {name: round(reading.f1.mean, 4) for name, reading in readings.items()},
        "precision": {name: round(reading.precision, 4) for name, reading in readings.items()},
        "recall": {name: round(reading.recall, 4) for name, reading in readings.items()},
        "gap_recovered": pointed.recovered,
        "cells": {name: reading.cells for name, reading in readings.items()},
        "written": {
            w.name: {name: value for name, value in asdict(w).items() if name not in ("name", "texts")}
            for w in pointed.written
        },
        "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
