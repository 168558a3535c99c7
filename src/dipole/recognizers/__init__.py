"""Recognizers score texts for a concept, as log-odds in nats."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dipole.recognizers.embedding import Embedding
    from dipole.recognizers.mentions import Mentions
    from dipole.recognizers.nli import NLI
    from dipole.recognizers.probe import Probe
    from dipole.recognizers.stance import Stance
    from dipole.recognizers.topic import TopicModel, TopicScore
    from dipole.recognizers.velma import Velma

__all__ = ["NLI", "Embedding", "Mentions", "Probe", "Stance", "TopicModel", "TopicScore", "Velma"]

_HOMES = {
    "NLI": "nli",
    "Embedding": "embedding",
    "Mentions": "mentions",
    "Probe": "probe",
    "Stance": "stance",
    "TopicModel": "topic",
    "TopicScore": "topic",
    "Velma": "velma",
}


def __getattr__(name: str) -> Any:
    """Import a recognizer when it is first used: some need optional packages, and all of them torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dipole.recognizers' has no attribute {name!r}")
    return getattr(import_module(f"dipole.recognizers.{_HOMES[name]}"), name)
