"""What guidance by a probe does to one batch: reads every row with each of its likely next tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from dipole.batching import chunks
from dipole.decoding.guides import Session
from dipole.decoding.stepping import Read, steps
from dipole.engaging.blocks import decoder_blocks
from dipole.engaging.hidden import find_input, state_of

_FORK_BYTES = 2**30


def likeliest(logits: Tensor, most: int, mass: float) -> tuple[Tensor, Tensor]:
    """The smallest set of tokens of each row that has `mass` of the probability, at most `most` of them.

    Args:
        logits: `(rows, vocab)`; a token at -inf is never taken.
        most: At least 1.
        mass: Above 0; 1 takes `most`.

    Returns:
        `(rows, k)` token ids, likeliest first, and which of them are taken; of each row at least the first.
    """
    ordered, tokens = logits.topk(min(most, logits.shape[1]), dim=1)
    taken = ordered > -torch.inf
    if mass < 1:
        likely = logits.softmax(1).gather(1, tokens)
        taken &= likely.cumsum(1) - likely < mass
    taken[:, 0] = True
    return tokens, taken


def reweighted(logits: Tensor, rows: Tensor, tokens: Tensor, log_odds: Tensor, strength: float) -> Tensor:
    """`z + strength log P(notion | text, v)` for the candidates v, -inf for every other token.

    Yang and Klein 2021 (FUDGE), eq. 3. A negative strength weighs by P(not notion) instead.

    Args:
        logits: `(rows, vocab)`.
        rows: `(candidates,)` the row of each candidate.
        tokens: `(candidates,)` its token id.
        log_odds: `(candidates,)` of the notion, given the text with the candidate.
        strength: 1 is Bayes' rule where the probe is calibrated.
    """
    weighed = abs(strength) * logsigmoid(log_odds if strength > 0 else -log_odds)
    changed = torch.full_like(logits, -torch.inf)
    changed[rows, tokens] = logits[rows, tokens] + weighed
    return changed


class FudgeGuide:
    """Reads each row with each of its candidates; keeps the sum of the states that were read."""

    streams: Sequence[Sequence[int]] = ()

    def __init__(
        self,
        session: Session,
        layer: int,
        weight: Tensor,
        bias: Tensor,
        candidates: int,
        mass: float,
        strength: float,
    ) -> None:
        """Prepare; the prompts are read at the first step.

        Args:
            session: The batch.
            layer: Block whose output is read.
            weight: `(2 * width,)` of the probe, for the mean and the last state.
            bias: `()` of the probe.
            candidates: Most next tokens that are weighed.
            mass: Share of the probability that they must have together.
            strength: Exponent of what the probe says.
        """
        self._weight, self._bias = weight, bias
        self._candidates, self._mass, self._strength = candidates, mass, strength
        rows = [row.ids for row in session.rows]
        self._stepper = steps(
            session.resident, session.model, rows, _reader(decoder_blocks(session.model)[layer])
        )
        self._ends = torch.tensor(sorted(session.resident.eos_ids), dtype=torch.long)
        self._counts = torch.tensor([[len(ids) - 1] for ids in rows])  # (rows, 1) tokens but the first
        self._read: Tensor | None = None  # (rows, 2, width) sum over those tokens, and the last state

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Changed logits."""
        del streams
        if self._read is None:
            self._read = self._stepper.start()
            device = self._read.device
            self._counts, self._ends = self._counts.to(device), self._ends.to(device)
            self._weight, self._bias = self._weight.to(device), self._bias.to(device)
        tokens, taken = likeliest(logits, self._candidates, self._mass)
        rows, place = taken.nonzero(as_tuple=True)
        chosen = tokens[rows, place]
        odds = torch.zeros(len(rows), device=logits.device)
        open_ = taken.sum(1)[rows] > 1  # of a single candidate nothing depends on what the probe says
        odds[open_] = self._log_odds(self._read, rows[open_], chosen[open_]).to(logits.device)
        return reweighted(logits, rows, chosen, odds, self._strength)

    def advance(self, tokens: Tensor) -> None:
        """Take the tokens that were chosen."""
        assert self._read is not None
        last = self._stepper.advance(tokens)[:, 1]
        self._read = torch.stack([self._read[:, 0] + last, last], dim=1)
        self._counts = self._counts + 1

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only."""
        self._stepper.keep(index)
        assert self._read is not None
        index = index.to(self._read.device)
        self._read, self._counts = self._read[index], self._counts[index]

    def _log_odds(self, read: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
        """What the probe makes of rows with one more token each, `(candidates,)`."""
        rows, tokens = rows.to(read.device), tokens.to(read.device)
        odds = torch.empty(len(rows), device=read.device)
        sums, counts = read[:, 0], self._counts
        # At most as much memory again as the batch has, or 1 GiB.
        size = max(len(read), _FORK_BYTES // max(self._stepper.row_bytes(), 1))
        for part in chunks(len(rows), size):
            index = rows[part]
            last = self._stepper.fork(index).advance(tokens[part])[:, 1]
            odds[part] = self._probe((sums[index] + last) / (counts[index] + 1), last)
        # A token that ends the text adds nothing to it.
        ends = torch.isin(tokens, self._ends) & (counts[rows, 0] > 0)
        index = rows[ends]
        odds[ends] = self._probe(sums[index] / counts[index].clamp(min=1), read[index, 1])
        return odds

    def _probe(self, mean: Tensor, last: Tensor) -> Tensor:
        return torch.cat([mean, last], dim=1) @ self._weight + self._bias


class _Enough(Exception):
    """The block was read; nothing above it is needed."""


def _reader(block: Any) -> Read:
    """A block's output: the sum over all tokens but the first, and the last, `(rows, 2, width)` float32.

    The sum is over the columns that are read now, which is the last alone where the others are in the cache.
    """

    def read(model: Any, inputs: dict[str, Any]) -> Tensor:
        caught: list[Tensor] = []

        def stop(_module: Any, args: Any, kwargs: Any, output: Any) -> NoReturn:
            caught.append(state_of(output, find_input(args, kwargs)))
            raise _Enough

        handle = block.register_forward_hook(stop, with_kwargs=True)
        try:
            model(**inputs)
        except _Enough:
            pass
        finally:
            handle.remove()
        states = caught[0].float()
        counted = inputs["attention_mask"].cumsum(1)[:, -states.shape[1] :].to(states.device) > 1
        return torch.stack([states.masked_fill(~counted[..., None], 0).sum(1), states[:, -1]], dim=1)

    return read
