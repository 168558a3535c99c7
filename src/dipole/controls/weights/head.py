"""What a policy says, read off hidden states a few positions at a time.

Nothing as large as `(rows, tokens, vocab)` is ever kept: logits are made from hidden states in chunks, in the
forward pass and once more in the backward pass, and so are those of the base.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from dipole.types import UserError

_CHUNK = 1 << 22  # entries: 16 MiB in float32
_SAME = {torch.bfloat16: 0.1, torch.float16: 0.02}  # relative to the largest logit; float32 below
_SAME_FLOAT32 = 1e-4


class Base(NamedTuple):
    """What the base read of rows.

    Attributes:
        hidden: `(rows, tokens, width)` the states under its language-model head.
        temperature: Its distributions are softened by this.
    """

    hidden: Tensor
    temperature: float = 1.0

    def select(self, rows: Any) -> Base:
        """Some of the rows."""
        return Base(self.hidden[rows], self.temperature)


class Said(NamedTuple):
    """What is read off some positions; every tensor is `(n,)`, in nats.

    Attributes:
        logprobs: Of the target at each.
        entropy: Of the distribution, without gradient; 0 unless it was asked for.
        divergence: KL from the base's distribution; 0 without one.
    """

    logprobs: Tensor
    entropy: Tensor
    divergence: Tensor


class Head:
    """The language-model head of a model, with what the model does to its logits behind it."""

    def __init__(self, module: nn.Module, finish: Callable[[Tensor], Tensor]) -> None:
        """Keep what makes logits.

        Args:
            module: From `(…, width)` to `(…, vocab)`.
            finish: What the model does to these.
        """
        self.module, self._finish = module, finish

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits of hidden states `(…, width)`."""
        return self._finish(self.module(hidden)).float()

    def read(self, hidden: Tensor, targets: Tensor, base: Base | None = None, entropy: bool = False) -> Said:
        """What is said at some positions, differentiable in `hidden`.

        Args:
            hidden: `(n, width)`.
            targets: `(n,)` token ids.
            base: What the base read there, `(n, width)`, to measure the divergence from.
            entropy: Whether the entropy is wanted.
        """

        def part(states: Tensor, wanted: Tensor, theirs: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
            logprobs = self.logits(states).log_softmax(-1)
            picked = logprobs.gather(-1, wanted[:, None]).squeeze(-1)
            spread = apart = torch.zeros_like(picked)
            if entropy:
                spread = entropies(logprobs.detach())
            if theirs is not None and base is not None:
                apart = exact_kl(logprobs, self.softened(theirs, base.temperature))
            return picked, spread, apart

        step = max(1, _CHUNK // self._columns(hidden))
        states, wanted = torch.split(hidden, step), torch.split(targets, step)
        theirs = [None] * len(states) if base is None else torch.split(base.hidden, step)
        again = hidden.requires_grad and torch.is_grad_enabled() and len(states) > 1
        found = [
            checkpoint(part, *args, use_reentrant=False) if again else part(*args)
            for args in zip(states, wanted, theirs, strict=True)
        ]
        return Said(*(torch.cat(column) for column in zip(*found, strict=True)))

    @torch.no_grad()
    def softened(self, hidden: Tensor, temperature: float) -> Tensor:
        """Log-probabilities `(…, vocab)` at a temperature."""
        return (self.logits(hidden) / temperature).log_softmax(-1)

    def _columns(self, hidden: Tensor) -> int:
        weight = getattr(self.module, "weight", None)
        return int(weight.shape[0] if weight is not None else self.logits(hidden[:1]).shape[-1])


def entropies(logprobs: Tensor) -> Tensor:
    """Entropy in nats, `(…,)`, of distributions `(…, vocab)`; a token that can't be has no part in it."""
    terms: Tensor = torch.special.entr(logprobs.exp())
    return terms.sum(-1)


def exact_kl(logprobs: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) in nats, summed over the vocabulary, `(…,)`.

    This direction, and not the covering one: where the policy has left one of two tokens for good, the
    gradient vanishes with that token's probability instead of staying as large as the reference's.

    Args:
        logprobs: `(…, vocab)` log-probabilities of the policy.
        reference: `(…, vocab)` log-probabilities.
    """
    return torch.nn.functional.kl_div(reference, logprobs, reduction="none", log_target=True).sum(-1)


@torch.no_grad()
def head_of(module: nn.Module, config: Any, hidden: Tensor, logits: Tensor, name: str) -> Head:
    """The head, once it is clear what the model does behind it: nothing, a cap (Gemma 2) or a scale (Cohere).

    Args:
        module: The output embedding.
        config: Of the model's text part.
        hidden: `(n, width)` what the module read.
        logits: `(n, vocab)` what the model made of it.
        name: Of the model, for the message.

    Raises:
        UserError: It does something else.
    """
    raw, wanted = module(hidden).float(), logits.float()
    cap = getattr(config, "final_logit_softcapping", None) or 0.0
    ways: list[Callable[[Tensor], Tensor]] = [lambda x: x]
    if cap:
        ways.append(lambda x: cap * torch.tanh(x / cap))
    scale = float((raw * wanted).sum() / raw.square().sum().clamp(min=1e-30))
    ways.append(lambda x: x * scale)
    bound = _SAME.get(logits.dtype, _SAME_FLOAT32) * float(wanted.abs().max().clamp(min=1e-6))
    errors = [float((way(raw) - wanted).abs().max()) for way in ways]
    # In half precision a weak cap or a scale near 1 is within rounding of nothing, so the closest way is
    # taken, and of those that are as close, the simplest.
    close = [way for way, error in zip(ways, errors, strict=True) if error <= 2 * min(errors)]
    if min(errors) <= bound:
        return Head(module, close[0])
    raise UserError(
        f"{name} does something to the logits behind its language-model head that is neither a scale nor a "
        "cap from its config, so what it says can't be read off hidden states, as PPO does; use another "
        "model, and please report this one."
    )
