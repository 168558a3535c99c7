"""The stream of documents."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator

from dipole.microworld import forms as plain
from dipole.microworld import tasks
from dipole.microworld.truth import Document, Unit

MIXTURE: dict[str, float] = {
    "choice": 0.34,
    "opinion": 0.36,
    "story": 0.05,
    "question": 0.05,
    "judgement": 0.07,
    "negation": 0.06,
    "revision": 0.04,
    "list": 0.03,
}
"""Share of each form among the documents. Choices and opinions come first: they teach what a stance is."""

LATER_MIXTURE: dict[str, float] = {
    "choice": 0.20,
    "opinion": 0.16,
    "story": 0.05,
    "question": 0.02,
    "judgement": 0.28,
    "interview": 0.20,
    "negation": 0.05,
    "revision": 0.02,
    "list": 0.02,
}
"""The mixture once stances are learned: several questions on each text teach what is asked about them."""


def stream(
    seed: int | str, *, held_out: bool = False, forms: dict[str, float] | None = None
) -> Iterator[Document]:
    """Documents without end, the same for the same seed.

    Args:
        seed: of the whole stream.
        held_out: write as the authors, and from the negations, that no training document has.
        forms: share of each form; MIXTURE if None.
    """
    writers = _writers(random.Random(f"{seed} {held_out}"), held_out)
    forms = MIXTURE if forms is None else forms
    credit = dict.fromkeys(forms, 0.0)
    total = sum(forms.values())
    while True:
        # the form furthest behind its share goes next: shares are exact, not only expected
        form = max(credit, key=credit.__getitem__)
        unit = writers[form]()
        for name, share in forms.items():
            credit[name] += share / total * len(unit)
        credit[form] -= len(unit)
        yield from unit


def generate(
    n: int, seed: int | str, *, held_out: bool = False, forms: dict[str, float] | None = None
) -> list[Document]:
    """The first n documents of the stream.

    Raises:
        ValueError: if n is not positive.
    """
    if n <= 0:
        raise ValueError(f"The number of documents must be positive, not {n}.")
    return list(itertools.islice(stream(seed, held_out=held_out, forms=forms), n))


def _writers(rng: random.Random, held_out: bool) -> dict[str, Callable[[], Unit]]:
    cells = plain.choice_cells(rng)
    return {
        "choice": lambda: plain.choice_unit(rng, next(cells), held_out),
        "opinion": lambda: plain.opinion_unit(rng, held_out),
        "story": lambda: plain.story_unit(rng),
        "question": lambda: tasks.question_unit(rng, held_out),
        "judgement": lambda: tasks.judgement_unit(rng, held_out),
        "interview": lambda: tasks.interview_unit(rng, held_out),
        "negation": lambda: tasks.negation_unit(rng, held_out),
        "revision": lambda: tasks.revision_unit(rng, held_out),
        "list": lambda: tasks.list_unit(rng),
    }
