"""How long work says that it is getting on: one shape for all of it."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called when something begins, or has come further."""

    def __call__(self, what: str, done: int = 0, total: int = 0, note: str = "") -> None:
        """Hear of it.

        Args:
            what: What is done, or is counted; empty where each step is another, which `note` names.
            done: How many are done, or the number of the one that begins.
            total: Of how many; 0 where nobody knows.
            note: Numbers, or what else there is to say in a few words.
        """
        ...


def silent(what: str, done: int = 0, total: int = 0, note: str = "") -> None:
    """Progress that nobody watches."""
