"""Slow and obvious routes to what `LM` computes: one text at a time, one token at a time, no cache."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


@torch.no_grad()
def next_logits(model: Any, ids: Sequence[int]) -> Tensor:
    """Logits `(vocab,)` after the ids, from one row without padding, mask or cache."""
    return model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1].float()


def logprobs(model: Any, prefix: Sequence[int], continuation: Sequence[int]) -> list[float]:
    """Log-probability of each token of the continuation, a whole forward for each."""
    ids, result = list(prefix), []
    for token in continuation:
        logits = next_logits(model, ids).double()
        result.append(float(logits[token] - logits.logsumexp(0)))
        ids.append(token)
    return result


def warped(logits: Sequence[float], temperature: float, top_k: int, top_p: float) -> list[float]:
    """Probabilities after temperature, top-k and top-p, in plain Python."""
    order = sorted(range(len(logits)), key=lambda i: -logits[i])
    if temperature == 0:
        return [1.0 if i == order[0] else 0.0 for i in range(len(logits))]
    scaled = [x / temperature for x in logits]
    kept = set(order[:top_k] if top_k else order)
    largest = max(scaled)
    weights = {i: math.exp(scaled[i] - largest) for i in kept}
    total = sum(weights.values())
    nucleus, reached = [], 0.0
    for i in order:
        if i not in kept or reached >= top_p:
            break
        nucleus.append(i)
        reached += weights[i] / total
    total, drawable = sum(weights[i] for i in nucleus), set(nucleus)  # a list would be searched 49,152 times
    return [weights[i] / total if i in drawable else 0.0 for i in range(len(logits))]


def uniforms(seed: int, n: int) -> list[float]:
    """The random numbers that a sample with this seed consumes."""
    return torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).tolist()


def inverse_cdf(probabilities: Sequence[float], uniform: float) -> int:
    """The first outcome whose cumulative probability exceeds the uniform."""
    total = sum(probabilities)
    reached = 0.0
    for index, probability in enumerate(probabilities):
        reached += probability
        if reached > uniform * total:
            return index
    raise AssertionError("a uniform below 1 always finds its outcome")


def sample(
    model: Any,
    prompt_ids: Sequence[int],
    seed: int,
    max_new_tokens: int,
    eos_ids: frozenset[int],
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
) -> list[int]:
    """Continue one prompt by a loop of whole forwards."""
    ids, drawn = list(prompt_ids), []
    for uniform in uniforms(seed, max_new_tokens):
        probabilities = warped(next_logits(model, ids).tolist(), temperature, top_k, top_p)
        token = inverse_cdf(probabilities, uniform)
        ids.append(token)
        drawn.append(token)
        if token in eos_ids:
            break
    return drawn
