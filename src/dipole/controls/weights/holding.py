"""What holds a policy to its base: how far that is softened, and when texts turn to noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from dipole.controls.weights.head import entropies
from dipole.controls.weights.loop import Stop
from dipole.protocols import Metrics

_CHOICE = 5.0  # nats a text: a side that the base takes once in 150 texts


def softening(softened: Callable[[float], Tensor], most: float, bonus: float) -> float:
    """Temperature that raises the base's mean entropy by `bonus`, but no higher than `most`.

    The entropy that a temperature adds grows with the vocabulary's tail: at 1.8 it is 0.7 nats a token on the
    bundled LM and 4.5 on one of 49,152 tokens, whose text it turns to noise.

    Args:
        softened: Log-probabilities `(n, vocab)` in nats of the base at a temperature.
        most: The highest temperature.
        bonus: Entropy in nats a token.
    """
    if most <= 1.0 or mean_entropy(softened(most)) <= (goal := mean_entropy(softened(1.0)) + bonus):
        return most
    low, high = 1.0, most
    for _ in range(12):  # to a thousandth
        middle = (low + high) / 2
        low, high = (middle, high) if mean_entropy(softened(middle)) <= goal else (low, middle)
    return low


def mean_entropy(logprobs: Tensor) -> float:
    """Mean entropy in nats of distributions `(n, vocab)`."""
    return float(entropies(logprobs).mean())


def excess(history: Sequence[Mapping[str, float]]) -> float:
    """How much unlikelier the last round's texts are under the base than the first's, in nats a token.

    Less what it may cost to take a side that the base hardly takes: that is a few nats a text, once.

    Args:
        history: Rounds with `base_nats`, nats a token under the base, and `tokens`, tokens a text.
    """
    last = history[-1]
    return last["base_nats"] - history[0]["base_nats"] - _CHOICE / max(last["tokens"], 1.0)


def stop_by_noise(history: list[Metrics], most: float) -> Stop | None:
    """Texts that the base finds far less likely than its own.

    Args:
        history: Rounds, as for `excess`.
        most: Perplexity under the base, as a multiple of the first round's.
    """
    found = math.exp(min(excess(history), 50.0))
    if found <= most:
        return None
    return Stop(
        f"Training stopped in round {len(history)}: the texts were turning to noise (their perplexity under "
        f"the base is {found:.1f} times what it was, beyond what taking a side costs; max_perplexity is "
        f"{most:g}). The weights are those before the last round that made them so. Lower the learning rate, "
        "raise kl_loss_coef, or use prompts that force the choice."
    )
