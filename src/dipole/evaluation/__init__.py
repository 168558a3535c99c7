"""What changed between two LMs, and what else changed with it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dipole.evaluation.compare import compare
    from dipole.evaluation.serialise import effect_from_dict, effect_to_dict

__all__ = ["compare", "effect_from_dict", "effect_to_dict"]

_HOMES = {"compare": "compare", "effect_from_dict": "serialise", "effect_to_dict": "serialise"}


def __getattr__(name: str) -> Any:
    """Import a name when it is first used, so that reading an `effect.json` does not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'dipole.evaluation' has no attribute {name!r}")
    return getattr(import_module(f"dipole.evaluation.{_HOMES[name]}"), name)
