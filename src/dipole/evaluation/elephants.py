"""`elephants`: how often a model names what it is told not to, and what that cost (Castricato 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dipole.concepts import Avoid
from dipole.concepts.avoid_prompts import HELD_OUT_QUESTIONS, asked
from dipole.evaluation.elephants_record import CONDITIONS, QUANTITIES, Cell, Condition, Elephants, Single
from dipole.evaluation.statistics import mean_interval, resampling, share_interval
from dipole.interventions.prompt import Prefix
from dipole.origin import now, origin
from dipole.progress import Progress, silent
from dipole.protocols import LM
from dipole.types import Sample, UserError, sample_seed

_SAME = "There are no held-out wordings, so this is measured on prompts that may have been trained on."


class _Row(NamedTuple):
    """What one text is written for."""

    pair: int
    prompt: str
    seed: int


def elephants(
    before: LM,
    after: LM,
    concepts: Sequence[Any],
    stranger: Avoid,
    n: int = 96,
    max_new_tokens: int = 28,
    seed: int = 0,
    instruction: str = "",
    progress: Progress = silent,
) -> Elephants:
    """Measure two LMs told nothing, told not to name it, told of other things, and told the reverse.

    A text names a thing where any of its names is in it, as `mentions.spans` finds them; this is a lower
    bound of what a judge would find, since nothing else is taken for a mention. Where the LM chats, questions
    about both things are asked that `dpf` does not train on; else the held-out wordings are gone on with.

    Args:
        before: The LM without the control.
        after: The same with it.
        concepts: What to avoid: `Avoid`s, or dipoles that name two sides.
        stranger: Other things: told of these, a model should speak as if it were told nothing of the first.
        n: Texts a condition, over all concepts.
        max_new_tokens: Token budget of a text.
        seed: Of the texts; both LMs draw from the same random numbers under every condition.
        instruction: What the model is told, in place of the concepts' own.
        progress: Told of each step.

    Raises:
        UserError: There is no concept, one names no two sides, or a prompt leaves no room.
    """
    started = now()
    if not concepts or n < 1 or max_new_tokens < 1:
        raise UserError(
            f"There must be a concept, and n ({n}) and max_new_tokens ({max_new_tokens}) at least 1."
        )
    avoids = [Avoid.of(concept, instruction) for concept in concepts]
    wordings, notes = _wordings(avoids, before.resident.chat)
    rows = [
        _Row(k % len(avoids), wordings[k % len(avoids)][(k // len(avoids)) % len(wordings[k % len(avoids)])],
             sample_seed(seed, 0, k))
        for k in range(n)
    ]  # fmt: skip
    units = [*dict.fromkeys((row.pair, row.prompt) for row in rows)]
    plan = resampling([units.index((row.pair, row.prompt)) for row in rows], seed)
    cells: list[Cell] = []
    pink: dict[Condition, tuple[NDArray[np.float64], NDArray[np.float64]]] = {}
    for condition in CONDITIONS:
        progress(f"writing, {CONDITIONS[condition]}")
        told = [_told(avoid, stranger, condition) for avoid in avoids]
        old, new = (_named(avoids, rows, _written(lm, rows, told, max_new_tokens)) for lm in (before, after))
        pink[condition] = old[:, 0], new[:, 0]
        cells += [
            Cell(
                condition, quantity, share_interval(old[:, k], plan), share_interval(new[:, k], plan),
                mean_interval(new[:, k] - old[:, k], plan),
            )
            for k, quantity in enumerate(QUANTITIES)
        ]  # fmt: skip
    of = np.array([row.pair for row in rows])
    return Elephants(
        tuple(a.to_dict() for a in avoids), stranger.to_dict(), n, tuple(cells),
        tuple(_single(k, a, of, pink) for k, a in enumerate(avoids) if (of == k).any()), notes,
        origin(
            "elephants", started, before.resident, concept=avoids[0].to_dict(),
            avoids=[a.to_dict() for a in avoids], stranger=stranger.to_dict(), n=n,
            max_new_tokens=max_new_tokens, seed=seed,
        ),
    )  # fmt: skip


def _wordings(avoids: Sequence[Avoid], chat: bool) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    if chat:
        found = [asked(a.held_out, HELD_OUT_QUESTIONS, a.avoid, a.instead) for a in avoids]
        return found, ()
    return [a.held_out or a.prompts for a in avoids], () if all(a.held_out for a in avoids) else (_SAME,)


def _told(avoid: Avoid, stranger: Avoid, condition: Condition) -> str:
    return {"none": "", "told": avoid.told, "other": stranger.told, "reversed": avoid.against}[condition]


def _written(lm: LM, rows: Sequence[_Row], told: Sequence[str], max_new_tokens: int) -> list[Sample]:
    """A text for each row, by the LM told what its pair is."""
    found: dict[int, Sample] = {}
    for text in dict.fromkeys(told):
        mine = [k for k, row in enumerate(rows) if told[row.pair] == text]
        writer = lm.with_intervention(Prefix(text), 1.0) if text else lm
        asked_for, seeds = [rows[k].prompt for k in mine], [rows[k].seed for k in mine]
        found.update(zip(mine, writer.sample(asked_for, seeds, max_new_tokens), strict=True))
    return [found[k] for k in range(len(rows))]


def _named(avoids: Sequence[Avoid], rows: Sequence[_Row], samples: Sequence[Sample]) -> NDArray[np.float64]:
    """Whether each text names what to avoid, the other, neither: `(texts, 3)` of 1 and 0."""
    sides = [avoids[row.pair].named(sample.text) for row, sample in zip(rows, samples, strict=True)]
    return np.array([(pink, grey, not (pink or grey)) for grey, pink in sides], dtype=np.float64)


def _single(
    number: int,
    avoid: Avoid,
    of: NDArray[np.int64],
    pink: dict[Condition, tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> Single:
    none, told = (
        (float(old[of == number].mean()), float(new[of == number].mean()))
        for old, new in (pink["none"], pink["told"])
    )
    return Single(avoid.label, int((of == number).sum()), none, told)
