"""Side effects counted by hand: every subset, every token, one model call a position."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch


def pooled_ngrams(texts: Sequence[str], n: int) -> list[tuple[str, ...]]:
    """N-grams of the pooled texts, punctuation stripped word by word."""
    found = []
    for text in texts:
        tokens = ["".join(c for c in word if c.isalnum() or c in "'_") for word in text.lower().split()]
        tokens = [token for token in tokens if token]
        for start in range(len(tokens) - n + 1):
            found.append(tuple(tokens[start : start + n]))
    return found


def rarefied(items: Sequence[Any], draws: int) -> float:
    """Mean number of distinct items over every subset of that size, per item drawn."""
    sizes = [len(set(subset)) for subset in itertools.combinations(items, draws)]
    return sum(sizes) / len(sizes) / draws


def next_distribution(model: Any, ids: Sequence[int]) -> torch.Tensor:
    """Probabilities of the next token after unpadded ids, float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([list(ids)])).logits[0, -1]
    return logits.double().softmax(-1)


def sequence_kl(model: Any, base: Any, prompt: Sequence[int], response: Sequence[int]) -> float:
    """KL(model || base) summed over the positions of a response, one prefix and one token at a time."""
    total = 0.0
    for t in range(len(response)):
        prefix = [*prompt, *response[:t]]
        p, q = next_distribution(model, prefix).tolist(), next_distribution(base, prefix).tolist()
        total += sum(a * (math.log(a) - math.log(b)) for a, b in zip(p, q, strict=True) if a > 0)
    return total


def response_logprob(model: Any, prompt: Sequence[int], response: Sequence[int]) -> float:
    """Log-probability of a response, one token at a time."""
    total = 0.0
    for t, token in enumerate(response):
        total += math.log(next_distribution(model, [*prompt, *response[:t]])[token])
    return total


def perplexity(losses: Sequence[float], tokens: Sequence[int]) -> float:
    """exp of all nats over all tokens."""
    return math.exp(sum(losses) / sum(tokens))
