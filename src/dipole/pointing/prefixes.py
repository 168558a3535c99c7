"""A probe of beginnings: how likely a document is of the notion, from what has been read so far."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from dipole.interventions.fudge import Fudge
from dipole.interventions.logits import made_for
from dipole.probing.logistic import logistic
from dipole.reading.beginnings import Row, beginnings

if TYPE_CHECKING:
    from dipole.protocols import LM
    from dipole.resident import Resident

_EACH = 8
_EDGE = 1e-6
_PENALTY = 10.0  # stronger than the usual 1, because beginnings of one document are alike


def rows_of(lm: LM, texts: Sequence[str], prompts: Sequence[str], seed: int = 0) -> list[Row]:
    """Documents as they will stand while the probe guides: a random half behind one of the prompts.

    The half is drawn, because corpora come in all orders: where documents of the notion alternate with
    others, every other one behind a prompt would make the prompt's presence the label.

    Args:
        lm: The LM that reads.
        texts: Documents.
        prompts: Prompts that texts will be written behind; may be empty.
        seed: Of the draw.
    """
    resident, rng = lm.resident, random.Random(seed)
    rows = []
    for text in texts:
        if prompts and rng.random() < 0.5:
            prompt = lm.prompt_ids(rng.choice(prompts))
            own = text if resident.chat else " " + text  # a reply has nothing in front of it
            rows.append(Row([*prompt, *resident.continuation_ids(own)], len(prompt)))
        else:
            rows.append(Row(_begun(resident, text), 1))
    return rows


def _begun(resident: Resident, text: str) -> list[int]:
    """A document as texts are written: behind the start or end-of-text token, if there is one."""
    ids = resident.encode(text)
    if resident.bos_id is None and not resident.eos_ids:
        return ids
    start = resident.encode("")
    return ids if ids[:1] == start else [*start, *ids]


def guidance(
    lm: LM,
    texts: Sequence[str],
    membership: NDArray[np.float64],
    prompts: Sequence[str],
    layer: int,
    candidates: int,
    seed: int = 0,
    mass: float = 1.0,
    prior: float | None = None,
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
        prior: Share of the notion that the probe is to count on, where the documents were drawn with another
            one (a correction of the intercept, King and Zeng 2001); theirs by default.

    Raises:
        UserError: No document has a beginning.
    """
    found = beginnings(lm, rows_of(lm, texts, prompts, seed), [layer], _EACH, seed)
    labels = torch.as_tensor(membership)[found.owners]
    weight, bias = logistic(found.features[:, 0], labels, _PENALTY, standardise=True)
    if prior is not None:
        bias += log_odds(prior) - log_odds(float(membership.mean()))
    return Fudge(layer, weight.float(), torch.tensor(bias), candidates, mass=mass, **made_for(lm))


def log_odds(share: float) -> float:
    """Log-odds in nats of a share, which is held away from 0 and 1."""
    held = min(max(share, _EDGE), 1 - _EDGE)
    return math.log(held / (1 - held))
