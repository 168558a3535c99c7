"""The null of a control: the same push in a random direction (recipes 0.6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from dipole.interventions.activations import SteeringVector
from dipole.interventions.logits import Boost
from dipole.protocols import Intervention


def null_of(
    intervention: Intervention, written: Sequence[int], seed: int, vocabulary: int = 0
) -> tuple[str, Intervention] | None:
    """What kind of null it is, and an intervention like this one but for its direction.

    Args:
        intervention: The control's own.
        written: Token ids that the base itself writes, from which random words are taken: words that never
            come up would make a null that can do nothing.
        seed: Seed of the random direction.
        vocabulary: How many tokens there are; where the base's own do not suffice, any others are taken.

    Returns:
        None where the intervention has no direction.
    """
    generator = torch.Generator().manual_seed(seed)
    if isinstance(intervention, SteeringVector):
        return "random direction", random_direction(intervention, generator)
    if isinstance(intervention, Boost):
        made = random_words(intervention, written, generator, vocabulary)
        return None if made is None else ("random words", made)
    return None


def random_direction(vector: SteeringVector, generator: torch.Generator) -> SteeringVector:
    """At each layer a direction drawn evenly from the sphere, as long as the vector's own."""
    drawn = torch.randn(vector.vectors.shape, generator=generator, dtype=torch.float64)
    lengths = vector.vectors.double().norm(dim=-1, keepdim=True)
    pushed = drawn / drawn.norm(dim=-1, keepdim=True) * lengths
    return replace(vector, vectors=pushed.float(), signs=(), facts={"null": "random direction"}, card="")


def random_words(
    boost: Boost, written: Sequence[int], generator: torch.Generator, vocabulary: int = 0
) -> Boost | None:
    """The same additions on as many other tokens; None where there are not enough of them."""
    own = set(boost.tokens.tolist())
    pool = [token for token in written if token not in own]
    if len(pool) < len(boost.tokens):
        pool = [token for token in range(vocabulary) if token not in own]
    others = torch.tensor(pool, dtype=boost.tokens.dtype)
    if len(others) < len(boost.tokens):
        return None
    chosen = others[torch.randperm(len(others), generator=generator)[: len(boost.tokens)]]
    return replace(boost, tokens=chosen, facts={"null": "random words"}, card="")
