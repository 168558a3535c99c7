"""A probe of beginnings: how likely a document is of the notion, from what has been read so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.controls._beginnings import Row, beginnings
from dipole.interventions._logistic import logistic
from dipole.interventions.fudge import Fudge

if TYPE_CHECKING:
    from dipole.lm import LM

_EACH = 8
_PENALTY = 10.0  # stronger than the usual 1, because beginnings of one document are alike


def rows_of(lm: LM, texts: Sequence[str], prompts: Sequence[str]) -> list[Row]:
    """Documents as they will stand while the probe guides: every other one behind one of the prompts.

    Args:
        lm: The LM that reads.
        texts: Documents.
        prompts: Prompts that texts will be written behind; may be empty.
    """
    resident = lm.resident
    rows = []
    for number, text in enumerate(texts):
        if prompts and number % 2:
            prompt = resident.encode(prompts[number // 2 % len(prompts)])
            rows.append(Row([*prompt, *resident.continuation_ids(" " + text)], len(prompt)))
        else:
            rows.append(Row(resident.encode(text), 1))
    return rows


def guidance(
    lm: LM,
    texts: Sequence[str],
    membership: NDArray[np.float64],
    prompts: Sequence[str],
    layer: int,
    candidates: int,
    seed: int = 0,
    mass: float = 1.0,
) -> Fudge:
    """Guidance by a probe that is fitted on beginnings of the documents and the notion's own labels.

    Args:
        lm: The LM that is guided.
        texts: Documents.
        membership: `(n,)` how much each is of the notion, in [0, 1].
        prompts: What texts will be written behind; may be empty.
        layer: Block whose output is read.
        candidates: Most next tokens that are weighed.
        seed: Of the draw of beginnings.
        mass: Share of the probability that the candidates must have together.

    Raises:
        UserError: No document has a beginning.
    """
    found = beginnings(lm, rows_of(lm, texts, prompts), [layer], _EACH, seed)
    labels = torch.as_tensor(membership)[found.owners]
    weight, bias = logistic(found.features[:, 0], labels, _PENALTY, standardise=True)
    resident = lm.resident
    return Fudge(
        layer, weight.float(), torch.tensor(bias), candidates, resident.name, resident.fingerprint, mass=mass
    )
