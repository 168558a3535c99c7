"""What pointing costs: topic model, features and fit for 10,000 documents of 100 words, and the memory.

python benchmarks/pointing_cost.py --documents 10000 --words 100
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import time
from collections.abc import Iterator

import torch

import dipole
from dipole.corpora.corpus import Document
from dipole.microworld.stories import write_story
from dipole.pointing.methods import Weak
from dipole.pointing.refine import refine
from dipole.reading.pairs import spread_layers
from dipole.recognizers.lda import Settings
from dipole.recognizers.pooled import read_features
from dipole.recognizers.topic import TopicModel


class Stories:
    """Documents of so many words, made anew each time they are read."""

    def __init__(self, count: int, words: int) -> None:
        """Remember how many and how long."""
        self.count, self.words = count, words

    def __iter__(self) -> Iterator[Document]:
        """The same documents each time."""
        rng = random.Random(0)
        for number in range(self.count):
            text: list[str] = []
            genre = "detective" if rng.random() < 0.5 else rng.choice(["news", "romance", "sea tale"])
            while len(text) < self.words:
                text += write_story(rng, genre).text.split()
            yield Document(str(number), " ".join(text[: self.words]))


def main() -> None:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--documents", type=int, default=10_000)
    parser.add_argument("--words", type=int, default=100)
    parser.add_argument("--topics", type=int, default=10)
    parser.add_argument("--model", default="tiny")
    flags = parser.parse_args()
    lm, stories = dipole.load(flags.model), Stories(flags.documents, flags.words)
    took: dict[str, float] = {}
    start = time.perf_counter()
    model = TopicModel.fit(stories, Settings(flags.topics))
    took["topics"] = time.perf_counter() - start
    assert model.training is not None
    start = time.perf_counter()
    depth = lm.resident.model.config.get_text_config().num_hidden_layers
    features = read_features(lm, (d.text for d in stories), spread_layers(depth, 4))
    took["features"] = time.perf_counter() - start
    start = time.perf_counter()
    index = int((model.training.theta > 0.5).mean(0).argmax())
    counts = model.training.counts
    assert counts is not None
    top = [model.vocabulary.index(word) for word, _ in model.top_words(index, 30)]
    words = counts[:, top].toarray()
    notion = refine(features, Weak(model.training.theta[:, index], words))
    took["fit"] = time.perf_counter() - start
    record = {
        "documents": flags.documents,
        "words": flags.words,
        "threads": torch.get_num_threads(),
        **{name: round(seconds, 1) for name, seconds in took.items()},
        "total": round(sum(took.values()), 1),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "stability": notion.facts["stability"],
    }
    print(json.dumps(record))


if __name__ == "__main__":
    main()
