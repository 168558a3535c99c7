"""What interventions on the tokens and logits surfaces do while text is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from dipole.decoding.stepping import steps
from dipole.resident import Resident


class Row(NamedTuple):
    """A prompt that is being continued.

    Attributes:
        text: The user's prompt.
        ids: Token ids that the model reads for it, with what prompt interventions put around it.
    """

    text: str
    ids: tuple[int, ...]


class Encode(Protocol):
    """Token ids of a prompt with what prompt interventions put around it; see `LM.prompt_ids`."""

    def __call__(self, prompt: str, told: str = "") -> list[int]:
        """Token ids, with one more directive in front of the prompt."""
        ...


@dataclass(frozen=True)
class Session:
    """A batch that is about to be continued, as a guide sees it.

    Attributes:
        resident: Model and tokenizer.
        model: The resident's model with adapters and vectors in place; it is so until the batch is done.
        rows: The prompts.
        encode: Token ids of another prompt, or of the same told something, with the same prompt interventions
            around it.
    """

    resident: Resident
    model: Any
    rows: Sequence[Row]
    encode: Encode


class Guide(Protocol):
    """Changes the next-token logits of one batch of rows, step by step; made anew for each batch.

    Calls alternate: once with the logits of the first new token, then `advance` with the tokens that were
    chosen, and again. `keep` may come between `advance` and the next call.
    """

    @property
    def streams(self) -> Sequence[Sequence[int]]:
        """Rows of token ids that the same model reads beside the batch, in one forward.

        As many for each row, those of one row together; each takes the tokens that its row takes. Asked
        for once, before the first step.
        """
        ...

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits.

        Args:
            logits: `(rows, vocab)` float32, -inf where a token pool forbids the token.
            streams: `(rows * streams a row, vocab)` float32, what the model says in the further rows.
        """
        ...

    def advance(self, tokens: Tensor) -> None:
        """Learn the tokens `(rows,)` that were chosen."""
        ...

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only, in this order."""
        ...


class Decoder:
    """A batch of rows with its guides: gives guided logits, takes tokens."""

    def __init__(self, session: Session, guides: Sequence[Guide]) -> None:
        """Gather the rows that all guides need into one batch.

        Args:
            session: The batch.
            guides: In the order in which they change the logits, token pools first.
        """
        own = [row.ids for row in session.rows]
        columns: dict[tuple[tuple[int, ...], ...], int] = {tuple(own): 0}
        self._guides: list[tuple[Guide, list[int]]] = []  # with the columns that it reads
        for guide in guides:
            streams = [tuple(stream) for stream in guide.streams]
            if len(streams) % len(own):
                raise RuntimeError(f"{len(streams)} streams are not as many for each of {len(own)} rows.")
            each = len(streams) // len(own)
            # A column that another guide reads too, or that is the batch itself, is read once.
            wanted = [tuple(streams[k::each]) for k in range(each)]
            self._guides.append((guide, [columns.setdefault(rows, len(columns)) for rows in wanted]))
        self._columns, self._count = len(columns), len(own)
        self._stepper = steps(session.resident, session.model, [row for rows in columns for row in rows])

    def start(self) -> Tensor:
        """Logits of the first new token, `(rows, vocab)`."""
        return self._guided(self._stepper.start())

    def advance(self, tokens: Tensor) -> Tensor:
        """Take the tokens `(rows,)`; logits of the next ones, `(rows, vocab)`."""
        for guide, _ in self._guides:
            guide.advance(tokens)
        return self._guided(self._stepper.advance(tokens.repeat(self._columns)))

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        for guide, _ in self._guides:
            guide.keep(index)
        starts = torch.arange(self._columns, device=index.device) * self._count
        self._stepper.keep((starts[:, None] + index).flatten())
        self._count = len(index)

    def _guided(self, logits: Tensor) -> Tensor:
        if not self._guides:
            return logits
        logits = logits.float()
        columns = logits.view(self._columns, self._count, -1)
        own = columns[0]
        forbidden = torch.zeros_like(own, dtype=torch.bool)
        for guide, wanted in self._guides:
            own = guide(own, columns[wanted].transpose(0, 1).flatten(0, 1) if wanted else logits[:0])
            forbidden |= own.isneginf()
        # What one guide forbids stays so, whatever a later one adds.
        return own.masked_fill(forbidden, -torch.inf)
