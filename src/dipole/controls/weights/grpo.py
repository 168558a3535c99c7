"""Reinforcement learning without a critic: several completions of one prompt are each other's baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, get_args

import torch

from dipole.controls.weights.group_maths import (
    Advantage,
    Length,
    Ratio,
    changes,
    flat_groups,
    group_advantages,
    row_weights,
    surrogate,
)
from dipole.controls.weights.loop import Place
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.on_policy_rounds import Judged, Learnable, Losses, OnPolicyRounds
from dipole.controls.weights.policy import Policy, PolicyOutput
from dipole.controls.weights.settings import require
from dipole.protocols import Metrics, Poles
from dipole.types import UserError


@dataclass(frozen=True)
class GRPO(OnPolicy):
    """Group relative policy optimisation (Shao 2024): what beats the rest of its group gets likelier.

    `--advantage centred --length constant` is Dr. GRPO (Liu 2025), which takes out two biases: dividing by a
    group's deviation gives weight to prompts that are nearly always or never solved, and dividing by a text's
    length lets long wrong ones off. `--advantage running` is REINFORCE with a baseline (Williams 1992), the
    mean of the rewards of earlier rounds. RLOO has a name of its own.

    Departures from the papers:

    1. KL is in two places, and k3 of Shao 2024 in neither. In the reward stands k1, log pi - log base summed
       over the text, whose policy gradient is that of the KL; in the loss the exact KL over the vocabulary.
       The derivative of k3 in a loss is that of KL(base || policy) (Tang and Munos 2025), which holds on to
       whatever the base could have said.
    2. The divisor of a group has a floor, `min_std` of the first round's spread, so that a group in which all
       rewards are nearly the same is not blown up to the size of others.
    3. centred, leave_one_out and running are divided by the first round's spread, one number for the whole
       run: prices of KL then mean the same whatever unit the reward is in.
    4. constant divides by `max_new_tokens`, so that prices of KL, in nats a token, mean the same.
    5. The base, several passes over a round's samples and all that stops a run are as in PPO.

    Attributes:
        group_size: Completions of one prompt that are compared; `batch_size` is a multiple of it.
        epochs: Passes over the samples of a round.
        advantage: What a reward is compared with: group (the group's mean, in its standard deviations),
            centred (its mean), leave_one_out (the mean of the others) or running (earlier rounds).
        length: How texts of different lengths count: sequence (each the same), token (each token the same) or
            constant (their sums, all divided by `max_new_tokens`).
        ratio: What is clipped: the change of each token, or that of the whole sequence.
        min_std: The deviation of a group that advantages are divided by is taken as at least this share of
            the spread of the first round's rewards.
    """

    group_size: int = 8
    epochs: int = 4
    advantage: Advantage = "group"
    length: Length = "sequence"
    ratio: Ratio = "token"

    name: ClassVar[str] = "grpo"
    paper: ClassVar[str] = "Shao 2024, arXiv:2402.03300; Liu 2025, arXiv:2503.20783"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "at least 1", lambda v: v >= 1, "epochs", "group_size")
        for name, allowed in (("advantage", Advantage), ("length", Length), ("ratio", Ratio)):
            if getattr(self, name) not in get_args(allowed):
                raise UserError(
                    f"{name} must be {', '.join(get_args(allowed))}, and is {getattr(self, name)!r}."
                )
        if self.group_size < 2 and self.advantage != "running":
            raise UserError(
                f"group_size is {self.group_size}, and a completion is compared with others of its group; "
                "give 2 or more, or advantage='running'."
            )
        if self.batch_size % self.group_size:
            raise UserError(
                f"batch_size must be a multiple of group_size, and {self.batch_size} is none of "
                f"{self.group_size}; take {max(1, self.batch_size // self.group_size) * self.group_size}."
            )

    def begin(self, concept: Poles | None, place: Place, prompts: Sequence[str]) -> GRPORounds:
        """What does the rounds."""
        return GRPORounds(self, concept, place, prompts)


@dataclass(frozen=True)
class RLOO(GRPO):
    """REINFORCE leave-one-out (Ahmadian 2024): each completion against the mean of the others of its prompt.

    A text is one action: its ratio is clipped as a whole, and its log-probability is not divided by its
    length. All else is as in GRPO, whose departures hold here too.

    Attributes:
        length: How texts of different lengths count: constant (their sums, all divided by `max_new_tokens`),
            sequence (each the same) or token (each token the same).
    """

    group_size: int = 4
    advantage: Advantage = "leave_one_out"
    length: Length = "constant"
    ratio: Ratio = "sequence"

    name: ClassVar[str] = "rloo"
    paper: ClassVar[str] = "Ahmadian 2024, arXiv:2402.14740"


class GRPORounds(OnPolicyRounds):
    """Rounds without a critic: every token of a text has the text's advantage."""

    shows: ClassVar[tuple[str, ...]] = ("policy_loss", "clip_fraction")

    def __init__(self, grpo: GRPO, concept: Poles | None, place: Place, prompts: Sequence[str]) -> None:
        """Set up the policy, which has no critic."""
        super().__init__(grpo, concept, place, prompts, Policy(place.lm, place.model, critic=False))
        self._grpo = grpo
        self._earlier = self._rounds = 0.0  # the sum of the mean rewards of earlier rounds, and how many

    def numbers(self) -> dict[str, float]:
        """Those of every run, and the rewards of earlier rounds."""
        return {**super().numbers(), "earlier": self._earlier, "rounds": self._rounds}

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Take back what `numbers` gave."""
        super().restore(numbers)
        self._earlier, self._rounds = float(numbers["earlier"]), float(numbers["rounds"])

    def learnable(self, judged: Judged, kl_coef: float) -> tuple[Learnable, Metrics]:
        """Advantages within each group, of rewards less the price of their KL."""
        grpo, (old, reference, scores, mask) = self._grpo, judged
        rewards = scores - kl_coef * ((old.logprobs - reference) * mask).sum(1)
        advantages = self._advantages(rewards)
        flat = flat_groups(scores, grpo.group_size) if grpo.group_size > 1 else 0.0
        return Learnable(old, advantages[:, None] * mask, mask), {"flat_groups": flat}

    def _advantages(self, rewards: torch.Tensor) -> torch.Tensor:
        grpo, unit = self._grpo, self._spread or 1.0
        if grpo.advantage == "group":
            return group_advantages(rewards, grpo.group_size, "group", grpo.min_std * self._spread)
        if grpo.advantage != "running":
            return group_advantages(rewards, grpo.group_size, grpo.advantage) / unit
        known = rewards[~rewards.isnan()]
        mean = float(known.mean()) if len(known) else 0.0
        # The first round has none before it; the mean of the others of that round is as unbiased.
        first = group_advantages(rewards, len(rewards), "leave_one_out")
        found = first if not self._rounds else (rewards - self._earlier / self._rounds).nan_to_num()
        self._earlier, self._rounds = self._earlier + mean, self._rounds + 1
        return found / unit

    def losses(self, now: PolicyOutput, learn: Learnable, mask: torch.Tensor) -> Losses:
        """The surrogate of each action, summed as `length` says."""
        grpo = self._grpo
        weights = row_weights(learn.mask, mask, grpo.length, grpo.max_new_tokens)[:, None]
        change, real = changes(now.logprobs, learn.old.logprobs, learn.mask, grpo.ratio)
        advantages = learn.advantages if grpo.ratio == "token" else learn.advantages[:, -1:]
        loss = (surrogate(change, advantages, grpo.clip) * real * weights).sum()
        actions = mask.sum() if grpo.ratio == "token" else (mask.sum(1) > 0).sum()
        far = (change.detach().exp() - 1).abs() > grpo.clip
        clipped = (far * real).sum() / actions.clamp(min=1)
        return Losses(loss, torch.stack([loss.detach(), clipped]))
