"""How long work says that it is getting on: one shape for all of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

_WORTH_SAYING = 60.0  # seconds


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
    """What a run of training calls after each round, with its index, the total and its metrics.

    Where it will take another minute it says how long, by the rounds that this process has done.
    """
    seconds: list[float] = []
    shown = {
        "reward_mean": "reward {:.3f}",
        "kl": "KL {:.2f} nats",
        "loss": "loss {:.3f} nats a token",
        "preference_loss": "loss {:.3f}",
        "accuracy": "{:.0%} right",
    }

    def on_round(index: int, total: int, metrics: Mapping[str, float]) -> None:
        notes = [text.format(metrics[name]) for name, text in shown.items() if name in metrics]
        seconds.append(metrics.get("seconds", 0.0))
        left = sum(seconds) / len(seconds) * (total - index - 1)
        if left >= _WORTH_SAYING:
            notes.append(f"about {math.ceil(left / 60)} min left")
        progress("round", index + 1, total, "  ".join(notes))

    return on_round
