"""The trainable policy: the resident model with an adapter in place, and a value head beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dipole.batching import Batch, positions
from dipole.controls.weights.packing import Layout, few_at_a_time, pack, picked_logprobs, unpacked
from dipole.controls.weights.rollout import Rows
from dipole.protocols import LM
from dipole.recognizers.likelihood import packed_width
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

    def __init__(self, lm: LM, wrapped: nn.Module, detach_value: bool) -> None:
        """Wrap a model that has an adapter injected.

        Raises:
            UserError: The model has no output embedding to read hidden states from.
        """
        super().__init__()
        self._resident = resident = lm.resident
        self.model = wrapped
        head = resident.model.get_output_embeddings()
        if head is None or not hasattr(head, "weight"):
            raise UserError(
                f"{type(resident.model).__name__} has no language-model head to read hidden states from, "
                "which the value head of PPO needs; use another model."
            )
        self._head = [head]  # a list keeps it out of this module's own parameters
        self._detach_value = detach_value
        self._width = packed_width(lm)
        # Made without drawing from the caller's random numbers: it starts at zero.
        self.value_head = nn.Linear(head.weight.shape[-1], 1, device="meta").to_empty(device=resident.device)
        nn.init.zeros_(self.value_head.weight)
        nn.init.zeros_(self.value_head.bias)

    def forward(self, rows: Rows, entropy: bool = False, reference: Tensor | None = None) -> PolicyOutput:
        """Read rows; logits are computed at response positions only, and everything is 0 on padding.

        Args:
            rows: Prompts and responses.
            entropy: Whether the entropy is wanted, which costs a pass over the logits; 0 otherwise.
            reference: `(rows, tokens, vocab)` log-probabilities to measure the divergence from; 0 without.
        """
        layout = self._layout(rows)
        logits, hidden = self._read(layout)
        at = (layout.sequence, layout.column)
        if self._detach_value:
            hidden = hidden.detach()
        # Filled rather than multiplied: what an architecture says about padding may be NaN.
        padding = rows.mask == 0
        values = self.value_head(hidden.float()).squeeze(-1)[at].masked_fill(padding, 0.0)
        logprobs = picked_logprobs(logits, layout, rows.targets).masked_fill(padding, 0.0)
        spread = torch.zeros_like(values)
        if entropy:
            spread = _entropy(logits)[at].masked_fill(padding, 0.0)
        divergence = torch.zeros_like(values)
        if reference is not None:
            divergence = exact_kl(logits[at], reference).masked_fill(padding, 0.0)
        return PolicyOutput(logprobs, values, spread.detach(), divergence)

    def _layout(self, rows: Rows) -> Layout:
        """Rows packed by their prompts where the model takes that and it saves something."""
        if self._width:
            packed = pack(rows, self._resident.pad_id, self._resident.model.dtype, self._width)
            if packed is not None:
                return packed
        return unpacked(rows, self._resident.inputs(rows.batch, rows.keep))

    def _read(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Logits `(sequences, columns, vocab)` and the hidden states under them, at the kept columns."""
        inputs, keep = layout.inputs, layout.keep
        mask = inputs["attention_mask"]
        if mask.ndim > 2 or bool(mask.all()) or self._resident.probe.left:
            return self._forward(inputs, keep)

        def read(some: Batch) -> Tensor:
            return torch.cat(self._forward(self._resident.inputs(some), keep), dim=-1)

        batch = Batch(inputs["input_ids"], mask, positions(mask))
        both = self._resident.by_length(batch, read, keep)
        width = self.value_head.in_features
        return both[..., :-width], both[..., -width:]

    def _forward(self, inputs: dict[str, Tensor], keep: int) -> tuple[Tensor, Tensor]:
        """Logits and hidden states at the last `keep` columns, or at all where there are fewer."""
        caught: list[Tensor] = []

        def keep_input(_module: nn.Module, args: tuple[Any, ...]) -> None:
            caught.append(args[0])

        inputs = dict(inputs)
        if "logits_to_keep" in self._resident.forward_parameters:
            # As indices, not as a number: see `Resident.inputs`.
            width = inputs["input_ids"].shape[1]
            inputs["logits_to_keep"] = torch.arange(
                max(0, width - keep), width, device=inputs["input_ids"].device
            )
        handle = self._head[0].register_forward_pre_hook(keep_input)
        try:
            logits: Tensor = self.model(**inputs, use_cache=False).logits
        finally:
            handle.remove()
        return logits[:, -keep:], caught[0][:, -keep:]

    @torch.no_grad()
    def distributions(self, rows: Rows, temperature: float = 1.0) -> Tensor:
        """Log-probabilities of the whole vocabulary at each response position, `(rows, tokens, vocab)`."""
        layout = self._layout(rows)
        logits, _ = self._read(layout)
        return (logits[layout.sequence, layout.column].float() / temperature).log_softmax(-1)


def exact_kl(logits: Tensor, reference: Tensor) -> Tensor:
    """KL(policy || reference) in nats, summed over the vocabulary, `(rows, tokens)`.

    This direction, and not the covering one: where the policy has left one of two tokens for good, the
    gradient vanishes with that token's probability instead of staying as large as the reference's.

    Args:
        logits: `(rows, tokens, vocab)` logits of the policy.
        reference: `(rows, tokens, vocab)` log-probabilities.
    """
    policy = logits.float().log_softmax(-1)
    return torch.nn.functional.kl_div(reference, policy, reduction="none", log_target=True).sum(-1)


@torch.no_grad()
def _entropy(logits: Tensor) -> Tensor:
    entropies = []
    for part in few_at_a_time(logits.detach()):
        logprobs = part.float().log_softmax(-1)
        entropies.append(-(logprobs.exp() * logprobs).sum(-1))
    return torch.cat(entropies).view(logits.shape[:2])
