"""What holds a policy in place where nobody asked it to move: texts that the base writes unprompted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

from torch import Tensor

from dipole.controls.weights.head import Base
from dipole.controls.weights.policy import Policy, PolicyOutput
from dipole.controls.weights.rollout import Rows, to_rows
from dipole.protocols import LM
from dipole.types import sample_seed

_SETS = 8  # rounds after which the texts come round again


class Anchored(NamedTuple):
    """Texts of the base whose distribution must not move.

    Attributes:
        rows: This process's share of them.
        base: What the base read of them.
        tokens: Tokens of all processes together.
    """

    rows: Rows
    base: Base
    tokens: Tensor

    def parts(self, most: int) -> Iterator[Anchored]:
        """The same, no more than `most` rows at a time; what they diverge by adds up to the whole."""
        for start in range(0, len(self.rows.mask), most):
            some = slice(start, start + most)
            yield Anchored(self.rows.select(some), self.base.select(some), self.tokens)


class Anchor:
    """Texts of the base, a set of them a round; made and asked while the adapter is off."""

    def __init__(self, lm: LM, size: int, max_new_tokens: int, seed: int) -> None:
        """Draw the texts.

        Args:
            lm: The LM, whose adapter under training is off.
            size: Texts a round.
            max_new_tokens: Token budget of a text.
            seed: Seed of the run.
        """
        drawn = lm.generate("", size * _SETS, max_new_tokens, seed=sample_seed(seed, 0, 1 << 40))
        self._rows, self._size = to_rows(drawn, lm.resident.pad_id, lm.resident.device), size
        self._read: dict[int, Base] = {}  # what the base read of each set, which stays the same

    def of(self, index: int, policy: Policy, accelerator: Any) -> Anchored:
        """This process's share of a round's texts, with what the base reads of them."""
        start = index % _SETS * self._size
        stop = start + self._size
        count = self._rows.mask[start:stop].sum()
        mine = list(range(start, stop))[accelerator.process_index :: accelerator.num_processes]
        rows = self._rows.select(mine or [start])
        if start not in self._read:
            self._read[start] = Base(policy.read(rows))
        return Anchored(rows, self._read[start], count if mine else count * math.inf)


def divergence(policy: Policy, anchored: Anchored) -> Tensor:
    """This process's part of KL(policy || base) on the base's texts, in nats a token."""
    output: PolicyOutput = policy(anchored.rows, base=anchored.base)
    return output.divergence.sum() / anchored.tokens
