"""VELMA the slow, obvious way: one text, one statement, one token at a time; no batch, cache or mask.

Independent of `dipole.recognizers`: it asks the bare model for the next-token distribution after each prefix.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

TEMPERATURE = 0.2


def next_token_logprob(model: Any, prefix: Sequence[int], token: int) -> float:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([list(prefix)]), use_cache=False).logits[0, -1]
    values = logits.double().tolist()
    top = max(values)
    return values[token] - top - math.log(math.fsum(math.exp(v - top) for v in values))


def token_logprobs(model: Any, prefix: Sequence[int], continuation: Sequence[int]) -> list[float]:
    seen = list(prefix)
    result = []
    for token in continuation:
        result.append(next_token_logprob(model, seen, token))
        seen.append(token)
    return result


def mean_loglikelihood(model: Any, prefix: Sequence[int], statement: Sequence[int]) -> float:
    logprobs = token_logprobs(model, prefix, statement)
    return math.fsum(logprobs) / len(logprobs)


def log_odds(model: Any, prefix: Sequence[int], claim: Sequence[int], against: Sequence[int]) -> float:
    """From token ids of the text, of " claim" and of " against"."""
    difference = mean_loglikelihood(model, prefix, claim) - mean_loglikelihood(model, prefix, against)
    return difference / TEMPERATURE
