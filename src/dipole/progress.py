"""How long work says that it is getting on: one shape for all of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def rounds(progress: Progress) -> Callable[[int, int, Mapping[str, float]], None]:
    """What a run of training calls after each round, with its index, the total and its metrics."""
    shown = {"reward_mean": "reward {:.3f}", "kl": "KL {:.2f} nats", "loss": "loss {:.3f} nats a token"}

    def on_round(index: int, total: int, metrics: Mapping[str, float]) -> None:
        note = "  ".join(text.format(metrics[name]) for name, text in shown.items() if name in metrics)
        progress("round", index + 1, total, note)

    return on_round
