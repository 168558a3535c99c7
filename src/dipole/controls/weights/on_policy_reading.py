"""A round's rows, read by policy and base in the very batches that the updates use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dipole.controls.weights.head import Base
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.policy import Policy, PolicyOutput
from dipole.controls.weights.rollout import Rows, gather
from dipole.controls.weights.step import micro, parts


class Reader:
    """Reads rows in parts, this process's share of them, and puts together what all processes read."""

    def __init__(self, control: OnPolicy, policy: Policy, most: int, prompts: int, accelerator: Any) -> None:
        """Keep what reads, and how.

        Args:
            control: Says what a minibatch is.
            policy: Reads.
            most: Rows a forward at most.
            prompts: How many there are, which the rows of a round take in turn.
            accelerator: The run's accelerator.
        """
        self._prompts = prompts
        self._control, self._policy, self.most, self._accelerator = control, policy, most, accelerator

    def parts(self, minibatch: Sequence[int]) -> list[list[int]]:
        """The rows of a minibatch that this process reads, cut into forwards.

        Where they need several, rows of one prompt stand together, so that a forward reads fewer prompts.
        """
        if len(minibatch) > self.most:
            minibatch = sorted(minibatch, key=lambda row: row // self._control.group_size % self._prompts)
        return parts(minibatch, self.most, self._accelerator)

    def is_one_forward(self) -> bool:
        """Whether an epoch is one forward on every process; all must agree, or they would wait for ever."""
        size, total = self._control.minibatch_size or self._control.batch_size, self._control.batch_size
        largest_share = -(-total // self._accelerator.num_processes)
        return size >= total and micro(largest_share, self.most) == largest_share

    def once(self, rows: Rows, base: Base | None) -> PolicyOutput:
        """The policy with its graph: the first update and the old policy are then one and the same pass."""
        part = self.parts(list(range(len(rows.mask))))[0]
        output: PolicyOutput = self._policy(
            rows.select(part), entropy=True, base=None if base is None else base.select(part)
        )
        return output

    @torch.no_grad()
    def read(self, rows: Rows, fused: PolicyOutput | None) -> PolicyOutput:
        """What the policy says as it stands, entropy too."""
        if fused is not None:
            columns = [self._whole([column]) for column in fused.detach()]
        else:
            found = [self._policy(rows.select(part), entropy=True) for part in self._all_parts()]
            columns = [self._whole(column) for column in zip(*found, strict=True)]
        return PolicyOutput(*columns)

    @torch.no_grad()
    def states(self, rows: Rows) -> Tensor:
        """The states of all rows, read with the model as it stands."""
        return self._whole([self._policy.read(rows.select(part)) for part in self._all_parts()])

    def _all_parts(self) -> list[list[int]]:
        """The very batches that the first epoch will use, because another may differ in the last bit."""
        return [part for batch in self._control.minibatches(0, 0) for part in self.parts(batch)]

    def _whole(self, found: Sequence[Tensor]) -> Tensor:
        """What was read in parts, in the order of the rows, of all processes."""
        order = [row for part in self._all_parts() for row in part]
        column = torch.cat(list(found))
        whole = gather(list(column.cpu()), order, self._accelerator)
        return torch.stack(whole).to(column.device)
