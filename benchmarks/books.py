"""Real books: the LDA topic nearest to the detective stories against the refined notion, on held-out authors.

The corpus is a folder of `<genre>/<book>.txt.gz` with a `metadata.csv` (file, author, genre, is_detective;
books of a borderline genre are left out). Passages of about 200 words, as many from each book. Authors are
split in two: topics, clusters and probes see passages of one half, all numbers are of the other. The topic is
the one whose share differs most between detective books and others among the authors that are seen: the truth
chooses where to point, as a user with some books in hand would, and takes no part in the refinement.
Intervals: 95 % of 1,000 bootstrap samples of the held-out authors.

    python benchmarks/books.py --books FOLDER --out books.jsonl --models tiny,FOLDER,minilm
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import time
from pathlib import Path

import numpy as np
import torch

import dipole
from dipole.corpora.corpus import Document, open_corpus
from dipole.pointing.measure import scores
from dipole.pointing.methods import Weak
from dipole.pointing.refine import WAYS, refine
from dipole.pointing.space import Space
from dipole.probing.logistic import logistic
from dipole.reading.pairs import spread_layers
from dipole.recognizers.lda import Settings
from dipole.recognizers.pooled import Features, read_features
from dipole.recognizers.topic import TopicModel

RESAMPLES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--books", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--models", default="tiny")
    parser.add_argument("--passages", type=int, default=40, help="of each book")
    parser.add_argument("--topics", type=int, default=10)
    parser.add_argument(
        "--splits", type=int, default=6, help="ways to part the authors, with topics of their own"
    )
    flags = parser.parse_args()
    texts, truth, authors, books = passages(flags.books, flags.passages, 0)
    parted = []
    for seed in range(flags.splits):
        seen = split(authors, truth, seed)
        parted.append((seed, seen, *weak(texts, truth, seen, flags.topics, seed)))
        print(f"split {seed}: {seen.sum()} of {len(texts)} passages seen; {parted[-1][-1]}", flush=True)
    for name in flags.models.split(","):
        started = time.perf_counter()
        features = embedded(texts) if name == "minilm" else read(name, texts)
        seconds = time.perf_counter() - started
        for seed, seen, q, words, described in parted:
            for record in measured(features, q, words, truth, authors, books, seen, seed):
                record |= {"model": Path(name).name, "split": seed, "seconds": round(seconds, 1), **described}
                print(record["model"], seed, record["notion"], record["f1"], record["auc"], flush=True)
                with flags.out.open("a", encoding="utf-8") as out:
                    print(json.dumps(record), file=out)


def passages(folder: Path, each: int, seed: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Text, label, author and book of passages of the books that have a label."""
    rng = random.Random(seed)
    texts, truth, authors, books = [], [], [], []
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if "borderline" not in row["genre"]]
    for row in rows:
        name = row["file"].removeprefix("books/")
        found = [document.text for document in open_corpus(folder / name, words=200)]
        found = found[3:-3]  # title pages and advertisements
        for text in rng.sample(found, min(each, len(found))):
            texts.append(text)
            truth.append(row["is_detective"] == "1")
            authors.append(row["author"])
            books.append(name)
    return texts, np.array(truth), np.array(authors), np.array(books)


def split(authors: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """Whether a passage is of an author that is seen: half of the detective authors, half of the others."""
    rng = random.Random(seed)
    chosen: set[str] = set()
    detective = {a for a, label in zip(authors, truth, strict=True) if label}
    for group in (sorted(detective), sorted(set(authors) - detective)):
        chosen |= set(rng.sample(group, len(group) // 2))
    return np.array([author in chosen for author in authors])


def weak(texts: list[str], truth: np.ndarray, seen: np.ndarray, topics: int, seed: int) -> tuple:
    """Share of the topic in each passage, counts of its top words, and what it is."""
    documents = [Document(str(i), texts[i]) for i in np.flatnonzero(seen)]
    model = TopicModel.fit(documents, Settings(topics, seed=seed, min_df=5, max_df=0.5))
    theta = model.posterior(texts)
    known = theta[seen]
    nearest = int((known[truth[seen]].mean(0) - known[~truth[seen]].mean(0)).argmax())
    top = [word for word, _ in model.top_words(nearest, 30)]
    columns = [model.vocabulary.index(word) for word in top]
    counts = np.asarray(model.count(texts)[:, columns].todense(), dtype=float)
    return theta[:, nearest], counts, {"topic": nearest, "words": top[:10]}


def read(name: str, texts: list[str]) -> Features:
    """Pooled activations at four layers."""
    lm = dipole.load(name)
    depth = lm.resident.model.config.get_text_config().num_hidden_layers
    return read_features(lm, texts, spread_layers(depth, 4))


def embedded(texts: list[str]) -> Features:
    """Embeddings of MiniLM, as if they were one layer."""
    from dipole.recognizers.embedding import DEFAULT, _load

    net = _load(DEFAULT, "cpu")
    vectors = net.encode(texts, batch_size=32, convert_to_tensor=True, show_progress_bar=False).float().cpu()
    return Features((0,), vectors[:, None], (float(vectors.norm(dim=1).median()),), 0)


def measured(features, q, words, truth, authors, books, seen, seed):
    """A record for the weak notion, each method and the supervised ceiling; by passage and by book."""
    train = torch.from_numpy(seen)
    part = Features(features.layers, features.values[train], features.norms, 0)
    # a passage is rarely half about one topic: positive is what lies above the topic's own mean share
    cut = float(q[seen].mean())
    calibrated = 1 / (1 + np.exp(-(np.log(q / (1 - q)) - np.log(cut / (1 - cut)))))
    found = {"weak": calibrated - 0.5}
    for method in WAYS:
        notion = refine(part, Weak(calibrated[seen], words[seen]), method, seed=seed)
        found[method] = notion.log_odds(features)
        if method == "auto":
            took = {"auto": notion.method, "reason": notion.facts.get("instead_of", {}).get("reason", "")}
    layer = features.layers[len(features.layers) // 2]
    space = Space.fit(features.at(layer)[train], 24)
    rows = torch.from_numpy(space.project(features.at(layer)))
    weight, bias = logistic(rows[train], torch.from_numpy(truth[seen].astype(float)), standardise=True)
    found["ceiling"] = (rows @ weight + bias).numpy()
    for name, odds in found.items():
        more = took if name == "auto" else {}
        yield {
            "notion": name,
            **more,
            **held_out(odds[~seen], truth[~seen], authors[~seen], books[~seen], seed),
        }


def held_out(odds: np.ndarray, truth: np.ndarray, authors: np.ndarray, books: np.ndarray, seed: int) -> dict:
    """F1 and AUC over passages with intervals over authors, and AUC over books by their mean."""
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(seed)
    names = sorted(set(authors))
    rows = {name: np.flatnonzero(authors == name) for name in names}
    f1s, aucs = [], []
    for _ in range(RESAMPLES):
        drawn = np.concatenate([rows[names[i]] for i in rng.integers(len(names), size=len(names))])
        if 0 < truth[drawn].sum() < len(drawn):
            f1s.append(scores(odds[drawn] > 0, truth[drawn])[2])
            aucs.append(roc_auc_score(truth[drawn], odds[drawn]))
    precision, recall, f1 = scores(odds > 0, truth)
    whole = sorted(set(books))
    by_book = [float(odds[books == book].mean()) for book in whole]
    labels = [bool(truth[books == book][0]) for book in whole]
    return {
        "f1": round(f1, 3), "f1_range": [round(float(v), 3) for v in np.quantile(f1s, [0.025, 0.975])],
        "precision": round(precision, 3), "recall": round(recall, 3),
        "auc": round(float(roc_auc_score(truth, odds)), 3),
        "auc_range": [round(float(v), 3) for v in np.quantile(aucs, [0.025, 0.975])],
        "auc_books": round(float(roc_auc_score(labels, by_book)), 3), "books": len(whole),
    }  # fmt: skip


if __name__ == "__main__":
    main()
