"""Loss of completions under a model: how much what was written surprises it, in nats."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dipole.protocols import LM
from dipole.types import Sample


def losses(lm: LM, samples: Sequence[Sample], batch_size: int = 32) -> NDArray[np.float64]:
    """Loss of each completion summed over its tokens, nats.

    The LM reads the prompt as it would itself, without what a control put around it for the writer.
    """
    prompts = [lm.prompt_ids(s.prompt) for s in samples]
    rows = lm.logprobs(prompts, [s.token_ids for s in samples], batch_size)
    return np.array([-float(row.double().sum()) for row in rows], dtype=np.float64)


def loss_under(lm: LM, samples: Sequence[Sample]) -> float:
    """Loss of all completions together, nats a token."""
    return float(losses(lm, samples).sum()) / max(sum(len(s.token_ids) for s in samples), 1)


def perplexity_ratio(lm: LM, samples: Sequence[Sample], own: float) -> float:
    """Perplexity of completions under an LM, over that of completions whose loss is `own`; at most e^50."""
    return math.exp(min(loss_under(lm, samples) - own, 50.0))
