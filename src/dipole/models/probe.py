"""What a model can be trusted with, found out by trying it on a few short rows.

Families differ in what they keep to: some ignore the padding mask, some keep a state in their modules from
one call to the next, some have caches that can't be continued in another order. None of it raises. So each
property is tried once, when it is first needed, and the callers take the road that holds: batches of equal
length, no cache, or a refusal.

A row by itself, without padding, mask or cache, in a forward of its own, is the truth.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Literal

import torch
from torch import Tensor

from dipole.batching import Batch, pad_batch
from dipole.decoding.stepping import Stepper, next_logits
from dipole.engaging.stack import Tree, engaged
from dipole.models.seen import Seen, see
from dipole.models.turns import tried
from dipole.resident import UNSUPPORTED, Resident
from dipole.types import UserError

# Deviation that rounding may cause, relative to how much the outputs vary. Over 184 families at random
# weights it was at most 3e-5 in float32; a wrong mask, position or state made 0.04 to 6, and the cache of
# Zamba 2, which goes astray step by step, 3e-4 after two. Models in float64 take some sums in float32. In 16
# bits rounding differs so much between models that it is measured, within limits.
_TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-4}
_NARROW, _NOISES, _WIDEST = 5e-2, 4, 0.3

_LONG = 72  # tokens of the row that is read first: beyond windows and chunks of 64
_LONGER, _SHORTER = 22, 6  # tokens of rows that are read together
_NEW = 2  # of these, how many are taken one by one


class Probe:
    """What holds of one model; each property is tried when it is first asked for, and kept."""

    def __init__(self, resident: Resident) -> None:
        """Choose the tokens to try; nothing is run."""
        self._resident, self._calls = resident, 0
        size = min(int(resident.model.get_input_embeddings().weight.shape[0]), len(resident.tokenizer))
        long = min(_LONG, resident.context_length or _LONG)
        ids = _spread(size, resident.pad_id, long + _SHORTER)
        self._long = ids[:long]
        self._changed = [
            *ids[: long // 2],
            *(_other(i, size, resident.pad_id) for i in ids[long // 2 : long]),
        ]
        longer, shorter = min(_LONGER, long), min(_SHORTER, long)
        self._rows = (ids[:longer], ids[long : long + shorter], ids[:shorter])  # two of them of one length

    def require(self) -> None:
        """Refuse a model whose outputs can't be trusted at all.

        Raises:
            UserError: It can't be run on text alone, is not causal, or answers the same call differently.
        """
        if self._refusal:
            raise UserError(f"{self._resident.name} {self._refusal}")

    @tried
    def _refusal(self) -> str:
        try:
            causal, repeats = self.causal, self._repeats  # in this order
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED as error:
            said = " ".join(str(error).split())[:200] or type(error).__name__
            return (
                f"can't be read from tokens alone ({said}); use a causal language model that needs nothing "
                "but text, such as gpt2 or the bundled tiny."
            )
        if not repeats:
            return (
                "gives other numbers when it is called a second time with the same text, so nothing that is "
                "measured on it would hold; use another model."
            )
        if not causal:
            kind = type(self._resident.model).__name__
            return (
                f"is not a causal (left-to-right) language model: in {kind} a later token changes what is "
                "said of an earlier one; use one that reads from left to right, such as gpt2, "
                "meta-llama/Llama-3.2-1B or the bundled tiny."
            )
        return ""

    @tried
    def causal(self) -> bool:
        """Whether a later token leaves alone what is said of earlier ones."""
        half = slice(len(self._long) // 2)
        return not self._judged or self._same(
            self._plain(self._changed).row(0, half), self._first.row(0, half)
        )

    @tried
    def positions(self) -> bool:
        """Whether a row is read alike when it is told its positions from 0 on, and a mask of ones."""
        if not self._judged:
            return True
        row = self._batch([self._long], "left")
        try:
            with self._model() as model:
                return self._same(see(model, self._inputs(row, positions=True)), self._first)
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED:
            return False

    @tried
    def _repeats(self) -> bool:
        """Whether a call gives what the first one gave; `causal` had another one made in between."""
        return not self._judged or self.positions or self._same(self._plain(self._long), self._first)

    @tried
    def left(self) -> bool:
        """Whether rows padded on the left are read as each alone."""
        return self._padded("left")

    @tried
    def right(self) -> bool:
        """Whether rows padded on the right are read as each alone."""
        return self._padded("right")

    @tried
    def caches(self) -> Literal["ragged", "even", "no"]:
        """How rows may be continued on a cache: rows of any length together, of one length only, or not."""
        if self._resident.cache_name is None:
            return "no"
        if not self._judged or (self.left and self._steps([0, 1])):
            return "ragged"
        return "even" if self._steps([2, 1], [0, 0]) else "no"

    @tried
    def _judged(self) -> bool:
        """Whether outputs can be compared; of a model that overflows nothing is known, and others say so."""
        return bool(self._first.logits.isfinite().all())

    @tried
    def _first(self) -> Seen:
        return self._plain(self._long)

    @tried
    def _truth(self) -> tuple[Seen, ...]:
        """What each of the rows gives alone; two are beginnings of the one that is read first."""
        longer, shorter = (self._first.row(0, slice(len(self._rows[k]))) for k in (0, 2))
        return longer, self._plain(self._rows[1]), shorter

    @contextmanager
    def _model(self) -> Iterator[Any]:
        """The base model in eval mode, whatever is engaged; random numbers and modes stay as they were."""
        with (
            self._resident.turn(),
            engaged(self._resident.model, ()) as model,
            torch.no_grad(),
            torch.random.fork_rng(devices=_cuda_devices(model)),
        ):
            # A model that draws while it reads must not draw the same each time.
            self._calls += 1
            torch.manual_seed(self._calls)
            tree = Tree(model) if model.training else None
            try:
                yield model.eval() if tree else model
            finally:
                if tree:
                    tree.restore()

    def _plain(self, row: Sequence[int], times: int = 1) -> Seen:
        """What a row by itself, or beside itself, gives in the plainest call that there is."""
        with self._model() as model:
            return see(model, {"input_ids": torch.tensor([list(row)] * times, device=self._resident.device)})

    def _batch(self, rows: Sequence[Sequence[int]], side: Literal["left", "right"]) -> Batch:
        return pad_batch(rows, self._resident.pad_id, side, self._resident.device)

    def _inputs(self, batch: Batch, positions: bool) -> dict[str, Any]:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if positions and "position_ids" in self._resident.forward_parameters:
            inputs["position_ids"] = batch.position_ids
        return inputs

    def _padded(self, side: Literal["left", "right"]) -> bool:
        if not self._judged or self._together([0, 1], side):
            return True
        if not self._together([2, 1], side):
            raise UserError(
                f"In {self._resident.name} the rows of one batch change each other even where all are of one "
                "length, so nothing that is read in batches would hold; use another model."
            )
        return False

    def _together(self, which: Sequence[int], side: Literal["left", "right"]) -> bool:
        """Whether these rows are read in one batch as each alone."""
        try:
            seen = self._seen(which, side)
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED:
            return False
        rows = [self._rows[k] for k in which]
        width = seen.logits.shape[1]
        starts = [width - len(row) if side == "left" else 0 for row in rows]
        return all(
            self._same(seen.row(k, slice(start, start + len(row))), self._truth[which[k]])
            for k, (row, start) in enumerate(zip(rows, starts, strict=True))
        )

    def _seen(self, which: Sequence[int], side: Literal["left", "right"]) -> Seen:
        """What these rows give in one batch."""
        batch = self._batch([self._rows[k] for k in which], side)
        with self._model() as model:
            return see(model, self._inputs(batch, self.positions))

    def _steps(self, *batches: Sequence[int]) -> bool:
        """Whether steppers over these rows, one batch after another, give what whole forwards give."""
        try:
            with self._model() as model:
                return all(self._stepped(model, which) for which in batches)
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED:
            return False

    def _stepped(self, model: Any, which: Sequence[int]) -> bool:
        """The same for one batch, for a fork of it in another order, beside that fork, and once more anew."""
        rows = [self._rows[k] for k in which]
        at = [len(row) - _NEW for row in rows]  # index of the first new token
        prompts = [row[:start] for row, start in zip(rows, at, strict=True)]

        def right(logits: Tensor, order: Sequence[int], new: int) -> bool:
            want = [self._truth[which[r]].logits[0, at[r] - 1 + new] for r in order]
            return self._same(Seen(logits[:, None].float().cpu()), Seen(torch.stack(want)[:, None]))

        def tokens(order: Sequence[int], new: int) -> Tensor:
            return torch.tensor([rows[r][at[r] + new] for r in order])

        def anew() -> Iterator[bool]:
            stepper = Stepper(self._resident, model, prompts, next_logits, caches=True)
            order, turned = [0, 1], [1, 0, 1]
            yield right(stepper.start(), order, 0)
            yield right(stepper.advance(tokens(order, 0)), order, 1)
            fork = stepper.fork(torch.tensor(turned))
            yield right(fork.advance(tokens(turned, 1)), turned, 2)
            yield right(stepper.advance(tokens(order, 1)), order, 2)

        return all(anew()) and all(islice(anew(), 2))

    @tried
    def _tolerance(self) -> float:
        exact = _TOLERANCE.get(self._resident.model.dtype)
        if exact is not None:
            return exact
        # One text in rows of two lengths, or beside itself, differs by rounding alone: shapes choose kernels.
        beside = self._plain(self._rows[2], 2)
        noise = max(
            self._plain(self._rows[0]).off(self._truth[0], self._first),
            *(beside.row(k, slice(None)).off(self._truth[2], self._first) for k in range(2)),
        )
        return min(max(_NARROW, _NOISES * noise), _WIDEST)

    def _same(self, found: Seen, truth: Seen) -> bool:
        return found.off(truth, self._first) <= self._tolerance


def _spread(size: int, pad: int, count: int) -> list[int]:
    """Token ids from all over the vocabulary, always the same, none of them the padding's."""
    draw = random.Random(0)  # a regular step would come back to its beginning in a small vocabulary
    ids = (draw.randrange(size) for _ in range(count))
    return [_other(i, size, pad) if i == pad else i for i in ids]


def _other(token: int, size: int, pad: int) -> int:
    """Another token id, not the padding's."""
    after = (token + 1) % size
    return (token + 2) % size if after == pad else after


def _cuda_devices(model: Any) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
