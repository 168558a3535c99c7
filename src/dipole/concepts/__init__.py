"""What is wanted from a language model, as plain text data."""

from dipole.concepts.arsenal import Arsenal
from dipole.concepts.avoid import Avoid
from dipole.concepts.dipole import Dipole, Mentions
from dipole.concepts.library import library, load_arsenal, load_dipole
from dipole.concepts.topic import Topic

__all__ = ["Arsenal", "Avoid", "Dipole", "Mentions", "Topic", "library", "load_arsenal", "load_dipole"]
