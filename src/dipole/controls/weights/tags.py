"""Which tokens may stand for `good` and `bad`, and texts with one of them in front of each segment."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.controls.weights.rollout import Text
from dipole.controls.weights.scored import Scored
from dipole.protocols import LM

_CANDIDATES = 16


class Tagged(NamedTuple):
    """A text with tags in it; both sequences are as long as its response.

    Attributes:
        text: Prompt and response, tags among the latter.
        chances: Probability of the claim of each token's segment, NaN where unknown.
        learned: Whether it is learned; a tag is read and never learned.
    """

    text: Text
    chances: list[float]
    learned: list[bool]


def tagged(
    texts: Sequence[Scored], threshold: float, tags: tuple[int, int] | None, drop: float, seed: int
) -> list[Tagged]:
    """Each segment behind its tag: the first of `tags` from the threshold on, the second below.

    A segment that could not be scored has none, and one in `drop` of the others neither, so that the model
    still knows how to write without (Korbak 2023).

    Args:
        texts: The texts.
        threshold: Probability of the claim from which on a segment is good; 0 and 1 are thresholds too.
        tags: Ids; None puts none anywhere.
        drop: Share of segments without a tag, each decided by itself.
        seed: Of these.
    """
    rng = random.Random(seed)
    found = []
    for text in texts:
        ids: list[int] = []
        chances: list[float] = []
        learned: list[bool] = []
        for segment in text.segments:
            dropped = rng.random() < drop
            if tags is not None and not math.isnan(segment.probability) and not dropped:
                ids.append(tags[0 if segment.probability >= threshold else 1])
                chances.append(segment.probability)
                learned.append(False)
            ids += segment.token_ids
            chances += [segment.probability] * len(segment.token_ids)
            learned += [True] * len(segment.token_ids)
        found.append(Tagged(Text(text.prompt_ids, ids), chances, learned))
    return found


def choose_tags(lm: LM, used: set[int], likely: Tensor) -> tuple[int, int]:
    """Two tokens that stand in no text and that the model hardly ever writes: good, bad.

    Those that no text can become come first (a model often has a few that it never uses); where there are
    not two of them, the tokens that the model finds least likely. Of the candidates the two whose embeddings
    have least in common are taken, because a small adapter has to tell them apart.

    Args:
        lm: The LM.
        used: Ids of the texts and their prompts.
        likely: `(vocab,)` log-probability that the model gives each token where it gives it most, nats.
    """
    resident = lm.resident
    barred = used | resident.eos_ids | {resident.pad_id, resident.bos_id}
    spare = sorted(resident.control_ids - barred)
    if len(spare) < 2:
        order = likely[: resident.written].argsort().tolist()
        barred |= resident.control_ids
        spare = list(itertools.islice((t for t in order if t not in barred), _CANDIDATES))
    table = resident.model.get_input_embeddings().weight
    rows = table[torch.tensor(spare, device=table.device)].float()
    rows = torch.nn.functional.normalize(rows - table.float().mean(0), dim=-1)
    alike = rows @ rows.T
    pairs = itertools.combinations(range(len(spare)), 2)
    one, other = min(pairs, key=lambda pair: float(alike[pair]))
    return spare[one], spare[other]
