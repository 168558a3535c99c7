"""Loading language models, and the few facts about one that the rest needs."""

from dipole.models.load import load

__all__ = ["load"]
