"""The trainable policy: the resident model with an adapter in place, and a value head beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dipole.controls.weights._rollout import Rows
from dipole.models.resident import Resident
from dipole.types import UserError


class PolicyOutput(NamedTuple):
    """What a policy says about the tokens that were sampled.

    Attributes:
        logprobs: `(rows, tokens)` log-probability in nats of each response token.
        values: `(rows, tokens)` predicted return in the state before each response token.
        entropy: `(rows, tokens)` entropy in nats of the distribution there, without gradient; 0 unless it
            was asked for.
        divergence: `(rows, tokens)` KL in nats of the policy from a reference there; 0 where none was given.
    """

    logprobs: Tensor
    values: Tensor
    entropy: Tensor
    divergence: Tensor

    def detach(self) -> PolicyOutput:
        """The same without gradients."""
        return PolicyOutput(*(t.detach() for t in self))


class Policy(nn.Module):
    """The adapted model as a function from rows to log-probabilities and values.

    One forward gives both: the value head reads the hidden states that the language-model head reads.
    The value head starts at zero and, with `detach_value`, sends no gradient into the adapter.
    """

    def __init__(self, resident: Resident, wrapped: nn.Module, detach_value: bool) -> None:
        """Wrap a model that has an adapter injected.

        Raises:
            UserError: The model has no output embedding to read hidden states from.
        """
        super().__init__()
        self._resident = resident
        self.model = wrapped
        head = resident.model.get_output_embeddings()
        if head is None or not hasattr(head, "weight"):
            raise UserError(
                f"{type(resident.model).__name__} has no language-model head to read hidden states from, "
                "which the value head of PPO needs; use another model."
            )
        self._head = [head]  # a list keeps it out of this module's own parameters
        self._detach_value = detach_value
        # Made without drawing from the caller's random numbers: it starts at zero.
        self.value_head = nn.Linear(head.weight.shape[-1], 1, device="meta").to_empty(device=resident.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(
        self, rows: Rows, entropy: bool = False, reference: Tensor | None = None, covering: bool = False
    ) -> PolicyOutput:
        """Read rows; logits are computed at response positions only, and everything is 0 on padding.

        Args:
            rows: Prompts and responses.
            entropy: Whether the entropy is wanted, which costs a pass over the logits; 0 otherwise.
            reference: `(rows, tokens, vocab)` log-probabilities to measure the divergence from; 0 without.
            covering: Whether the divergence is KL(reference || policy), for texts of the reference, and not
                KL(policy || reference), for texts of the policy.
        """
        caught: list[Tensor] = []

        def keep_input(_module: nn.Module, args: tuple[Any, ...]) -> None:
            caught.append(args[0])

        handle = self._head[0].register_forward_pre_hook(keep_input)
        try:
            logits = self._resident.last_logits(self.model, rows.batch, rows.keep)[:, :-1]
        finally:
            handle.remove()
        hidden = caught[0][:, -rows.keep : -1].float()
        if self._detach_value:
            hidden = hidden.detach()
        values = self.value_head(hidden).squeeze(-1)
        # Filled rather than multiplied: what an architecture says about padding may be NaN.
        padding = rows.mask == 0
        logprobs = token_logprobs(logits, rows.targets).masked_fill(padding, 0.0)
        spread = _entropy(logits).masked_fill(padding, 0.0) if entropy else torch.zeros_like(values)
        if reference is None:
            divergence = torch.zeros_like(values)
        else:
            divergence = exact_kl(logits, reference, covering).masked_fill(padding, 0.0)
        return PolicyOutput(logprobs, values.masked_fill(padding, 0.0), spread.detach(), divergence)

    @torch.no_grad()
    def distributions(self, rows: Rows, temperature: float = 1.0) -> Tensor:
        """Log-probabilities of the whole vocabulary at each response position, `(rows, tokens, vocab)`."""
        logits = self._resident.last_logits(self.model, rows.batch, rows.keep)[:, :-1]
        return (logits.float() / temperature).log_softmax(-1)


def exact_kl(logits: Tensor, reference: Tensor, covering: bool) -> Tensor:
    """KL in nats between policy and reference, summed over the vocabulary, `(rows, tokens)`.

    Args:
        logits: `(rows, tokens, vocab)` logits of the policy.
        reference: `(rows, tokens, vocab)` log-probabilities.
        covering: KL(reference || policy) if true, KL(policy || reference) if not.
    """
    policy = logits.float().log_softmax(-1)
    target, source = (reference, policy) if covering else (policy, reference)
    return torch.nn.functional.kl_div(source, target, reduction="none", log_target=True).sum(-1)


def token_logprobs(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability in nats of each target, `(rows, tokens)`, in float32.

    Args:
        logits: `(rows, tokens, vocab)`.
        targets: `(rows, tokens)` token ids.
    """
    logits = logits.float()
    picked = logits.gather(-1, targets[..., None]).squeeze(-1)
    return picked - logits.logsumexp(-1)


@torch.no_grad()
def _entropy(logits: Tensor) -> Tensor:
    entropies = []
    for row in logits.detach():  # one row at a time: the vocabulary is by far the largest dimension
        logprobs = row.float().log_softmax(-1)
        entropies.append(-(logprobs.exp() * logprobs).sum(-1))
    return torch.stack(entropies)
