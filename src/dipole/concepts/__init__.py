"""What is wanted from a language model, as plain text data."""

from dipole.concepts.arsenal import Arsenal
from dipole.concepts.dipole import Dipole, Mentions
from dipole.concepts.library import library, load_arsenal, load_dipole
from dipole.concepts.topic import Topic

__all__ = ["Arsenal", "Dipole", "Mentions", "Topic", "library", "load_arsenal", "load_dipole"]
