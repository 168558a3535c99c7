"""Stories, and a topic among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from golden import _api

FAST = _api.LDA(n_topics=2, iterations=6, restarts=1)


def stories(place: Path) -> Path:
    """A folder with `docs.jsonl`, `truth.csv` and `crime.csv`."""
    _api.write_cells(place / "stories", 12, seed=6)  # few words are told equally often
    return place / "stories"


def topic(folder: Path) -> Any:
    """The topic of the stories that crime is told by."""
    model = _api.TopicModel.fit(_api.open_corpus(folder / "docs.jsonl"), FAST)
    return _api.TopicScore(model, model.choose(words=("thief", "police", "detective")))
