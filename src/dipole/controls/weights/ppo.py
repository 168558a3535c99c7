"""Proximal policy optimisation of a LoRA adapter on any text reward (Ziegler 2019, Bricman 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from dipole.controls.weights.loop import Place
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.on_policy_rounds import Judged, Learnable, Losses, OnPolicyRounds
from dipole.controls.weights.policy import Policy, PolicyOutput
from dipole.controls.weights.ppo_maths import gae, policy_loss, shaped_rewards, value_loss, whiten
from dipole.controls.weights.settings import require
from dipole.protocols import Metrics, Poles
from dipole.types import UserError


@dataclass(frozen=True)
class PPO(OnPolicy):
    """Reinforcement learning of a LoRA adapter with a recognizer's score as the reward.

    The policy is the resident model with an adapter, the reference the same weights with the adapter
    off, and unless another judge is given the scorer is those weights too: one model in memory.

    Departures from Ziegler et al. 2019 and from the trl release that Bricman 2022 used:

    1. Advantages are whitened over the whole batch of a round, not over one sequence, which would leave
       only the sign of the reward.
    2. Losses are means over the tokens of the (global) minibatch, not one optimiser step a sequence.
    3. The value head reads the hidden states without sending gradient into the adapter, unless
       `detach_value` is off: the adapter is shaped by the reward alone.
    4. Dropout is off everywhere, so that at step 0 every ratio is 1 and every KL 0.
    5. A text that the recognizer can't score is left out of the losses instead of being punished.
    6. Beside the sampled KL in the reward, the exact KL to the (softened) base is a loss at every
       response position, and KL(policy || base) is one on texts that the base writes unprompted. The
       second stands where InstructGPT's PPO-ptx (Ouyang 2022, eq. 2) has a pretraining loss: it needs no
       data, has no noise at the start, and holds in place what nobody asked to move.
    7. Whitened advantages do not shrink at the optimum, where they are noise at full size that wears down
       the variety of the texts. So the divisor has a floor, a share of the first round's spread of the
       reward, and the learning rate decays linearly to 0.
    8. The reward is centred: the log-odds of the prompt alone are subtracted from those of prompt and
       completion, so that what a prompt says, or a statement that is likelier after anything, earns nothing.
    9. The price of KL never falls below its first value, and holds for the exact KL of departure 6 too.
    10. Adam forgets squared gradients 50 times as fast as by default (beta2 0.95): the gradient of the last
       few texts on the wrong side is small, and would be divided by the size that it had in the first rounds.

    Attributes:
        ppo_epochs: Passes over the samples of a round.
        gamma: Discount.
        lam: Lambda of generalised advantage estimation.
        clip_value: Clipping range of the value.
        vf_coef: Weight of the value loss.
        detach_value: Keep the value loss out of the adapter.
    """

    ppo_epochs: int = 4
    gamma: float = 1.0
    lam: float = 1.0
    clip_value: float = 0.2
    vf_coef: float = 0.1
    detach_value: bool = True

    name: ClassVar[str] = "ppo"
    paper: ClassVar[str] = "Ziegler 2019, arXiv:1909.08593"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "at least 1", lambda v: v >= 1, "ppo_epochs")
        require(self, "0 or more", lambda v: v >= 0, "vf_coef")
        require(self, "above 0", lambda v: v > 0, "clip_value")
        require(self, "between 0 and 1", lambda v: 0 <= v <= 1, "gamma", "lam")
        if self.batch_size < 8:
            raise UserError(
                f"batch_size must be at least 8, and is {self.batch_size}: advantages are whitened over the "
                "batch, and over fewer samples that erases the reward."
            )

    @property
    def epochs(self) -> int:
        """Passes over the samples of a round."""
        return self.ppo_epochs

    def begin(self, concept: Poles | None, place: Place, prompts: Sequence[str]) -> PPORounds:
        """What does the rounds."""
        return PPORounds(self, concept, place, prompts)


class PPORounds(OnPolicyRounds):
    """Rounds with a critic: advantages are what it did not expect, whitened, and it learns the returns."""

    shows: ClassVar[tuple[str, ...]] = ("policy_loss", "value_loss", "clip_fraction")

    def __init__(self, ppo: PPO, concept: Poles | None, place: Place, prompts: Sequence[str]) -> None:
        """Set up the policy and its critic."""
        super().__init__(ppo, concept, place, prompts, Policy(place.lm, place.model, ppo.detach_value))
        self._ppo = ppo

    def learnable(self, judged: Judged, kl_coef: float) -> tuple[Learnable, Metrics]:
        """Generalised advantages, whitened over the batch."""
        ppo, (old, reference, scores, mask), unit = self._ppo, judged, self.unit
        rewards = shaped_rewards(scores.nan_to_num(), old.logprobs, reference, mask, kl_coef) / unit
        advantages, returns = gae(rewards, old.values, mask, ppo.gamma, ppo.lam)
        white = whiten(advantages, mask, ppo.min_std * self._spread / unit)
        return Learnable(old, white, mask, returns), {}

    def losses(self, now: PolicyOutput, learn: Learnable, mask: Tensor) -> Losses:
        """Sums over tokens, divided by the tokens of the whole minibatch."""
        terms = _losses(self._ppo, now, learn) / mask.sum().clamp(min=1)
        return Losses(terms[0] + self._ppo.vf_coef * terms[1], terms.detach())


def _losses(ppo: PPO, now: PolicyOutput, learn: Learnable) -> Tensor:
    """Sums over response tokens of policy loss, value loss and clipped ratios, `(3,)`."""
    old, mask = learn.old, learn.mask
    assert learn.returns is not None
    policy = policy_loss(now.logprobs, old.logprobs, learn.advantages, mask, ppo.clip)
    value = value_loss(now.values, old.values, learn.returns, mask, ppo.clip_value)
    ratio = (now.logprobs.detach() - old.logprobs).exp()
    clipped = (((ratio - 1).abs() > ppo.clip) * mask).sum()
    return torch.stack([policy, value, clipped])
