"""What the one model in memory offers to everything that reads it, writes with it or changes it for a call.

`dipole.models` has the class that does this for a model of transformers; nothing else needs to know how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from dipole.batching import Batch

UNSUPPORTED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)
"""What an architecture may raise when it is handed a mask, positions or a cache that it does not know."""

Turns = tuple[str, Sequence[tuple[str, str]]]
"""What is put in front of a prompt: a directive, and pairs of a prompt and its continuation."""


class Trust(Protocol):
    """What of a model holds, told by trying it; see `dipole.models.probe`."""

    @property
    def left(self) -> bool:
        """Whether rows padded on the left are read as each alone."""
        ...

    @property
    def right(self) -> bool:
        """Whether rows padded on the right are read as each alone."""
        ...

    @property
    def caches(self) -> Literal["ragged", "even", "no"]:
        """How rows may be continued on a cache: rows of any length together, of one length only, or not."""
        ...

    def require(self) -> None:
        """Refuse a model whose outputs can't be trusted at all.

        Raises:
            UserError: It can't be run on text alone, is not causal, or answers the same call differently.
        """
        ...


class Resident(Protocol):
    """A causal model in memory with its tokenizer: the only place where weights live.

    Attributes:
        model: The model, in eval mode, gradients off; nothing of ours ever changes its parameters.
        tokenizer: Its tokenizer.
        name: What the user asked for: a hub id, a folder, a GGUF file, or a name such as `tiny`.
        revision: Commit on the hub, where known.
        fingerprint: Identifies the weights.
        probe: What of it holds.
        device: Where inputs go.
        context_length: How many tokens fit; None where there is no bound.
        width: Width of the residual stream.
        columns: How many token ids the model gives logits of.
        written: How many of these, from 0 on, are ids of its tokenizer too.
        control_ids: Ids that no text becomes.
        eos_ids: Ids that end a text.
        bos_id: The tokenizer's start token, if the model can read it.
        pad_id: Id that fills padding.
        forward_parameters: Names that the model's forward takes explicitly.
        takes_positions: Whether the model is told the position of each token.
        cache_name: What the model's forward calls its cache; None where it takes none.
        has_template: Whether the tokenizer comes with a chat template.
        chat: Whether prompts are read as turns of a chat: where there is a template, unless plain text was
            asked for.
    """

    @property
    def model(self) -> Any: ...  # noqa: D102
    @property
    def tokenizer(self) -> Any: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def revision(self) -> str | None: ...  # noqa: D102
    @property
    def fingerprint(self) -> str: ...  # noqa: D102
    @property
    def probe(self) -> Trust: ...  # noqa: D102
    @property
    def device(self) -> torch.device: ...  # noqa: D102
    @property
    def context_length(self) -> int | None: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def columns(self) -> int: ...  # noqa: D102
    @property
    def written(self) -> int: ...  # noqa: D102
    @property
    def control_ids(self) -> frozenset[int]: ...  # noqa: D102
    @property
    def eos_ids(self) -> frozenset[int]: ...  # noqa: D102
    @property
    def bos_id(self) -> int | None: ...  # noqa: D102
    @property
    def pad_id(self) -> int: ...  # noqa: D102
    @property
    def forward_parameters(self) -> frozenset[str]: ...  # noqa: D102
    @property
    def takes_positions(self) -> bool: ...  # noqa: D102
    @property
    def cache_name(self) -> str | None: ...  # noqa: D102
    @property
    def has_template(self) -> bool: ...  # noqa: D102
    @property
    def chat(self) -> bool: ...  # noqa: D102

    def turn(self) -> AbstractContextManager[None]:
        """Have the model to oneself for the length of a `with` block, after all who came before.

        Raises:
            UserError: The turn could never come; see `dipole.models.turns`.
        """
        ...

    def encode(self, text: str) -> list[int]:
        """Token ids of a text that starts a sequence, with the start token where the tokenizer adds one."""
        ...

    def continuation_ids(self, text: str) -> list[int]:
        """Token ids of a text that continues another, without special tokens."""
        ...

    def prompt_ids(self, turns: Sequence[Turns], prompt: str) -> list[int]:
        """Token ids of a prompt with what is put in front of it, as a chat where `chat` says so.

        Args:
            turns: What stands in front, the first first.
            prompt: The user's text. An empty one with nothing in front of it is no turn: it starts a text.

        Raises:
            UserError: The template can't carry them.
        """
        ...

    def carried(self, turns: Turns) -> str:
        """A sentence where the chat template can't have the directive in the system's turn; else empty.

        Raises:
            UserError: The template shows it nowhere.
        """
        ...

    def decode(self, prefix: Sequence[int], ids: Sequence[int]) -> str:
        """Text of `ids` as they stand after `prefix`, special tokens removed."""
        ...

    def reply(self, prefix: Sequence[int], ids: Sequence[int]) -> str:
        """Text of what was written behind a prompt; in a chat without what the model thinks beforehand."""
        ...

    def inputs(self, batch: Batch, logits_to_keep: int = 0) -> dict[str, Any]:
        """Keyword arguments of a forward, leaving out what the architecture does not take."""
        ...

    def last_logits(self, model: Any, batch: Batch, keep: int) -> Tensor:
        """Logits at the last `keep` columns of a left-padded batch, `(batch, keep, vocab)`."""
        ...

    def by_length(self, batch: Batch, read: Callable[[Batch], Tensor], keep: int) -> Tensor:
        """Read the rows of a left-padded batch by their length, without padding; `(batch, keep, …)`."""
        ...

    def states(self, model: Any, batch: Batch, layers: Sequence[int]) -> Tensor:
        """Residual stream of a right-padded batch after decoder blocks, `(batch, layers, time, width)`.

        Args:
            model: The model with what is engaged in it.
            batch: Token ids.
            layers: Indices of blocks; negative ones count from the end.

        Raises:
            UserError: There is no such layer, or it is not run on text alone.
        """
        ...
