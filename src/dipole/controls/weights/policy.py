"""The trainable policy: the resident model with an adapter in place, and a value head beside it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from dipole.batching import Batch, pad_batch, positions
from dipole.controls.weights.head import Base, head_of
from dipole.controls.weights.packing import Layout, pack, unpacked
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

    def __init__(self, lm: LM, wrapped: nn.Module, detach_value: bool = True, critic: bool = True) -> None:
        """Wrap a model that has an adapter injected.

        Args:
            lm: The LM.
            wrapped: Its model with the adapter.
            detach_value: Keep the gradient of the values out of the adapter.
            critic: Whether there is a value head; without one every value is 0.

        Raises:
            UserError: The model has no output embedding to read hidden states from, or does more behind it
                than can be told.
        """
        super().__init__()
        self._resident = resident = lm.resident
        self.model = wrapped
        head = resident.model.get_output_embeddings()
        if head is None or not hasattr(head, "weight"):
            raise UserError(
                f"{type(resident.model).__name__} has no language-model head to read hidden states from, "
                "which this training needs; use another model."
            )
        self._detach_value = detach_value
        self._width = packed_width(lm)
        with torch.no_grad():
            ids = resident.encode("Two words")[:8]
            batch = pad_batch([ids], resident.pad_id, "left", resident.device)
            logits, hidden = self._forward(resident.inputs(batch), head)
        config = resident.model.config.get_text_config()
        # A list keeps it out of this module's own parameters.
        self._head = [head_of(head, config, hidden[0, -1:], logits[0, -1:], resident.name)]
        self.width = hidden.shape[-1]
        self.value_head = self._zero_head(resident.device) if critic else None

    def _zero_head(self, device: torch.device) -> nn.Linear:
        # Made without drawing from the caller's random numbers: it starts at zero.
        head = nn.Linear(self.width, 1, device="meta").to_empty(device=device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def forward(self, rows: Rows, entropy: bool = False, base: Base | None = None) -> PolicyOutput:
        """Read rows; everything is 0 on padding.

        Args:
            rows: Prompts and responses.
            entropy: Whether the entropy is wanted, which costs a pass over the logits; 0 otherwise.
            base: What the base read of the rows, to measure the divergence from; 0 without.
        """
        return self.said(rows, self.read(rows), entropy, base)

    def read(self, rows: Rows) -> Tensor:
        """The states under the language-model head that predict each response token.

        Returns:
            `(rows, tokens, width)`, in the model's type; what stands on padding means nothing.
        """
        layout = self._layout(rows)
        return self._states(layout)[layout.sequence, layout.column]

    def said(
        self, rows: Rows, hidden: Tensor, entropy: bool = False, base: Base | None = None
    ) -> PolicyOutput:
        """What is said of rows by states that were read of them.

        Args:
            rows: Prompts and responses.
            hidden: As `read` gives them.
            entropy: As for `forward`.
            base: As for `forward`.
        """
        real = rows.mask > 0
        theirs = None if base is None else Base(base.hidden[real], base.temperature)
        states = hidden[real]
        found = self._head[0].read(states, rows.targets[real], theirs, entropy)
        if self.value_head is None:
            values = torch.zeros_like(found.entropy)
        else:
            under = states.detach() if self._detach_value else states
            values = self.value_head(under.float()).squeeze(-1)
        logprobs, spread, divergence = (self._placed(column, real) for column in found)
        return PolicyOutput(logprobs, self._placed(values, real), spread, divergence)

    def softened(self, hidden: Tensor, temperature: float = 1.0) -> Tensor:
        """Log-probabilities of the whole vocabulary for a few states `(…, width)`."""
        return self._head[0].softened(hidden, temperature)

    @staticmethod
    def _placed(values: Tensor, real: Tensor) -> Tensor:
        # Put in place rather than multiplied: what an architecture says about padding may be NaN.
        return values.new_zeros(real.shape).masked_scatter(real, values)

    def _layout(self, rows: Rows) -> Layout:
        """Rows packed by their prompts where the model takes that and it saves something."""
        if self._width:
            packed = pack(rows, self._resident.pad_id, self._resident.model.dtype, self._width)
            if packed is not None:
                return packed
        return unpacked(rows, self._resident.inputs(rows.batch, rows.keep))

    def _states(self, layout: Layout) -> Tensor:
        """Hidden states under the head, `(sequences, columns, width)`, at the kept columns."""
        inputs, keep = layout.inputs, layout.keep
        mask = inputs["attention_mask"]
        head = self._head[0].module
        if mask.ndim > 2 or bool(mask.all()) or self._resident.probe.left:
            return self._forward(inputs, head)[1][:, -keep:]

        def read(some: Batch) -> Tensor:
            return self._forward(self._resident.inputs(some), head)[1][:, -keep:]

        return self._resident.by_length(Batch(inputs["input_ids"], mask, positions(mask)), read, keep)

    def _forward(self, inputs: dict[str, Tensor], head: nn.Module) -> tuple[Tensor, Tensor]:
        """Logits at the last column alone, and hidden states at all of them."""
        caught: list[Tensor] = []

        def last_alone(_module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor, ...]:
            caught.append(args[0])
            return (args[0][:, -1:], *args[1:])

        inputs = {name: value for name, value in inputs.items() if name != "logits_to_keep"}
        handle = head.register_forward_pre_hook(last_alone)
        try:
            logits: Tensor = self.model(**inputs, use_cache=False).logits
        finally:
            handle.remove()
        return logits, caught[0]
