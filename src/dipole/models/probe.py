"""What a model can be trusted with, found out by trying it on a few short rows.

Families differ in what they keep to: some ignore the padding mask, some keep a state in their modules from
one call to the next, some have caches that can't be continued in another order. None of it raises. So each
property is tried once, when it is first needed, and the callers take the road that holds: batches of equal
length, no cache, or a refusal.

A row by itself, without padding, mask or cache, in a forward of its own, is the truth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch import Tensor

from dipole.models.batching import Batch, pad_batch
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.models.resident import Resident

# What an architecture may raise when it is handed a mask, positions or a cache that it does not know.
UNSUPPORTED = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError)

# Deviation that rounding may cause, relative to how much the outputs vary. Over 184 families at random
# weights it was at most 3e-4 in float32, where a wrong mask, position or state made 0.04 to 6. Models in
# float64 take some sums in float32. In 16 bits rounding differs so much between models that it is measured,
# within limits.
_TOLERANCE = {torch.float64: 2e-3, torch.float32: 2e-3}
_NARROW, _NOISES, _WIDEST = 5e-2, 4, 0.3

_LONG = 72  # tokens of the row that is read first: beyond windows and chunks of 64
_PAIR = (22, 6)  # tokens of two rows that are read together; 4 is as many as the usual short convolution sees
_NEW = 2  # of these, how many are taken one by one


class Seen(NamedTuple):
    """What a forward gave.

    Attributes:
        logits: `(batch, time, vocab)` float32.
        hidden: `(batch, time, width)` float32, what the output embedding read; None where it can't be caught.
    """

    logits: Tensor
    hidden: Tensor | None

    def row(self, index: int, columns: slice) -> Seen:
        """One row, some columns."""
        part = slice(index, index + 1)
        hidden = None if self.hidden is None else self.hidden[part, columns]
        return Seen(self.logits[part, columns], hidden)


class Probe:
    """What holds of one model; each property is tried when it is first asked for, and kept."""

    def __init__(self, resident: Resident) -> None:
        """Choose the tokens to try; nothing is run."""
        self._resident, self._calls = resident, 0
        size = min(int(resident.model.get_input_embeddings().weight.shape[0]), len(resident.tokenizer))
        long = min(_LONG, resident.context_length or _LONG)
        ids = _spread(size, resident.pad_id, 2 * _LONG)
        self._long, self._changed = ids[:long], [*ids[: long // 2], *ids[_LONG : _LONG + long - long // 2]]
        self._pair = (ids[: min(_PAIR[0], long)], ids[_LONG : _LONG + min(_PAIR[1], long)])

    def require(self) -> None:
        """Refuse a model whose outputs can't be trusted at all.

        Raises:
            UserError: It can't be run on text alone, is not causal, or answers the same call differently.
        """
        if self._refusal:
            raise UserError(f"{self._resident.name} {self._refusal}")

    @cached_property
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

    @cached_property
    def causal(self) -> bool:
        """Whether a later token leaves alone what is said of earlier ones."""
        half = slice(len(self._long) // 2)
        return not self._judged or self._same(
            self._plain(self._changed).row(0, half), self._first.row(0, half)
        )

    @cached_property
    def positions(self) -> bool:
        """Whether a row is read alike when it is told its positions from 0 on, and a mask of ones."""
        if not self._judged:
            return True
        row = pad_batch([self._long], self._resident.pad_id, "left", self._resident.device)
        with self._model() as model:
            return self._same(self._see(model, self._inputs(row, positions=True)), self._first)

    @cached_property
    def _repeats(self) -> bool:
        """Whether a call gives what the first one gave; `causal` had another one made in between."""
        return not self._judged or self.positions or self._same(self._plain(self._long), self._first)

    @cached_property
    def left(self) -> bool:
        """Whether rows padded on the left are read as each alone."""
        return self._padded("left")

    @cached_property
    def right(self) -> bool:
        """Whether rows padded on the right are read as each alone."""
        return self._padded("right")

    @cached_property
    def caches(self) -> Literal["ragged", "even", "no"]:
        """How rows may be continued on a cache: rows of any length together, of one length only, or not."""
        if self._resident.cache_name is None:
            return "no"
        if not self._judged or (self.left and self._steps([0, 1])):
            return "ragged"
        return "even" if self._steps([0, 0], [1, 1]) else "no"

    @property
    def _judged(self) -> bool:
        """Whether outputs can be compared; of a model that overflows nothing is known, and others say so."""
        return bool(self._first.logits.isfinite().all())

    @cached_property
    def _first(self) -> Seen:
        return self._plain(self._long)

    @cached_property
    def _truth(self) -> tuple[Seen, Seen]:
        """What each row of the pair gives alone; the longer one is the beginning of the first row."""
        first = self._first.row(0, slice(len(self._pair[0])))
        return first, self._plain(self._pair[1])

    @contextmanager
    def _model(self) -> Iterator[Any]:
        """The base model in eval mode, whatever is engaged; random numbers and modes stay as they were."""
        from dipole.interventions._engage import Tree
        from dipole.lm import LM

        with LM(self._resident)._engaged() as model, torch.random.fork_rng(devices=_cuda_devices(model)):
            # A model that draws while it reads must not draw the same each time.
            self._calls += 1
            torch.manual_seed(self._calls)
            tree = Tree(model) if model.training else None
            try:
                yield model.eval() if tree else model
            finally:
                if tree:
                    tree.restore()

    def _plain(self, row: Sequence[int]) -> Seen:
        """What a row by itself gives, in the plainest call that there is."""
        with self._model() as model:
            return self._see(model, {"input_ids": torch.tensor([list(row)], device=self._resident.device)})

    def _see(self, model: Any, inputs: dict[str, Any]) -> Seen:
        caught: list[Tensor] = []
        head = model.get_output_embeddings()
        handle = head and head.register_forward_pre_hook(lambda _, args: caught.append(args[0].detach()))
        try:
            logits = model(**inputs, use_cache=False).logits
        finally:
            if handle:
                handle.remove()
        hidden = caught[0].float() if caught and caught[0].shape[:2] == logits.shape[:2] else None
        return Seen(logits.float(), hidden)

    def _inputs(self, batch: Batch, positions: bool) -> dict[str, Any]:
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if positions and "position_ids" in self._resident.forward_parameters:
            inputs["position_ids"] = batch.position_ids
        return inputs

    def _padded(self, side: Literal["left", "right"]) -> bool:
        if not self._judged:
            return True
        batch = pad_batch(self._pair, self._resident.pad_id, side, self._resident.device)
        try:
            with self._model() as model:
                seen = self._see(model, self._inputs(batch, self.positions))
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED:
            return False
        width = batch.input_ids.shape[1]
        starts = [width - len(row) if side == "left" else 0 for row in self._pair]
        return all(
            self._same(seen.row(k, slice(start, start + len(row))), self._truth[k])
            for k, (row, start) in enumerate(zip(self._pair, starts, strict=True))
        )

    def _steps(self, *batches: Sequence[int]) -> bool:
        """Whether steppers over these rows of the pair, one after another, give what whole forwards give."""
        try:
            with self._model() as model:
                return all(self._stepped(model, which) for which in batches)
        except torch.OutOfMemoryError:
            raise
        except UNSUPPORTED:
            return False

    def _stepped(self, model: Any, which: Sequence[int]) -> bool:
        """The same for one batch, for a fork of it in another order, beside that fork, and once more anew."""
        from dipole.models.stepping import Stepper, next_logits

        rows = [self._pair[k] for k in which]
        at = [len(row) - _NEW for row in rows]  # index of the first new token
        prompts = [row[:start] for row, start in zip(rows, at, strict=True)]

        def right(logits: Tensor, order: Sequence[int], new: int) -> bool:
            want = [self._truth[which[r]].logits[0, at[r] - 1 + new] for r in order]
            return self._same(Seen(logits[:, None].float(), None), Seen(torch.stack(want)[:, None], None))

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

    @cached_property
    def _tolerance(self) -> float:
        exact = _TOLERANCE.get(self._resident.model.dtype)
        if exact is not None:
            return exact
        # One text in rows of two lengths differs by rounding alone.
        noise = self._deviation(self._plain(self._pair[0]), self._truth[0])
        return min(max(_NARROW, _NOISES * noise), _WIDEST)

    def _same(self, found: Seen, truth: Seen) -> bool:
        return self._deviation(found, truth) <= self._tolerance

    def _deviation(self, found: Seen, truth: Seen) -> float:
        of_logits = deviation(found.logits, truth.logits, self._first.logits)
        if found.hidden is None or truth.hidden is None or self._first.hidden is None:
            return of_logits
        return max(of_logits, deviation(found.hidden, truth.hidden, self._first.hidden))


def deviation(found: Tensor, truth: Tensor, scale: Tensor) -> float:
    """Largest root mean square over the last dimension of a difference, relative to how much outputs vary.

    Args:
        found: `(batch, time, width)`.
        truth: The same shape.
        scale: `(batch, time, width)` outputs whose spread over columns is the unit, so that a model with flat
            outputs is judged by the little that they do say.
    """
    unit = (scale - scale.mean(1, keepdim=True)).pow(2).mean().sqrt()
    off = (found - truth).to(torch.float64).pow(2).mean(-1).sqrt().max()
    if off == 0:
        return 0.0
    return float(off / unit.to(off)) if unit > 0 else float("inf")


def _spread(size: int, pad: int, count: int) -> list[int]:
    """Token ids from all over the vocabulary, none of them the padding's."""
    step = int(0.618 * size) | 1
    ids = [(size // 3 + k * step) % size for k in range(count)]
    return [(i + 1) % size if i == pad else i for i in ids]


def _cuda_devices(model: Any) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})
