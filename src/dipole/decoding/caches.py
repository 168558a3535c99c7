"""Copies of transformers' caches that can go on without touching what they were copied from."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor


def new_cache(model: Any) -> Any:
    """An empty cache of the kind that the model's config asks for."""
    from transformers import DynamicCache

    return DynamicCache(config=model.config)


def branched(cache: Any) -> Any:
    """A cache whose layers can be put in another order, or be given other tensors; the tensors are shared.

    Layers that hold keys and values put new tensors in the place of old ones. Those of recurrent blocks hold
    lists of states, which are copied too; they write into the states themselves when they go on, so put the
    copy in another order, or the same one, before that.
    """
    copied = copy.copy(cache)
    copied.layers = [_branched(layer) for layer in cache.layers]
    return copied


def _branched(layer: Any) -> Any:
    copied = copy.copy(layer)
    for name, value in vars(layer).items():
        if isinstance(value, list | dict):
            setattr(copied, name, copy.copy(value))
    return copied


def cache_bytes(cache: Any) -> int:
    """What the tensors of a cache take."""
    return sum(t.numel() * t.element_size() for layer in cache.layers for t in _tensors(vars(layer)))


def _tensors(held: Any) -> Iterator[Tensor]:
    if isinstance(held, Tensor):
        yield held
    elif isinstance(held, dict | list | tuple):
        for value in held.values() if isinstance(held, dict) else held:
            yield from _tensors(value)
