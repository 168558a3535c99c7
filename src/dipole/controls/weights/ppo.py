"""Proximal policy optimisation of a LoRA adapter on any text reward (Ziegler 2019, Bricman 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.controls.weights._loop import Run
    from dipole.interventions.weights import Adapter
    from dipole.protocols import LM, Recognizer


_LR, _WIDTH = 4e-3, 192


class Advantages(NamedTuple):
    """Generalised advantage estimates and the returns that the value head learns, both `(rows, tokens)`."""

    advantages: Tensor
    returns: Tensor


def shaped_rewards(
    scores: Tensor, logprobs: Tensor, ref_logprobs: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """Reward of each token: -kl_coef * (log pi - log ref), plus the score on the last real token.

    Ziegler et al. 2019, eq. 2. Rows are right-aligned, so the last real token is the last column.

    Args:
        scores: `(rows,)` reward of each text.
        logprobs: `(rows, tokens)` nats under the policy that sampled.
        ref_logprobs: `(rows, tokens)` nats under the reference.
        mask: `(rows, tokens)` 1 on response tokens.
        kl_coef: Price of one nat.
    """
    rewards = -kl_coef * (logprobs - ref_logprobs) * mask
    last = torch.zeros_like(rewards)
    last[:, -1] = 1.0
    return rewards + scores[:, None] * last * mask


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Advantages:
    """Generalised advantage estimation (Schulman 2016, eq. 16) over right-aligned rows.

    Returns are `advantage + value`, taken before any whitening.

    Args:
        rewards: `(rows, tokens)`.
        values: `(rows, tokens)` value of the state before each token.
        mask: `(rows, tokens)` 1 on response tokens; the columns before them carry nothing.
        gamma: Discount.
        lam: Trade of bias for variance.
    """
    advantages = torch.zeros_like(rewards)
    carried = torch.zeros_like(rewards[:, 0])
    next_value = torch.zeros_like(carried)
    for t in range(rewards.shape[1] - 1, -1, -1):
        delta = rewards[:, t] + gamma * next_value - values[:, t]
        carried = (delta + gamma * lam * carried) * mask[:, t]
        advantages[:, t] = carried
        next_value = values[:, t] * mask[:, t]
    return Advantages(advantages, (advantages + values) * mask)


def whiten(values: Tensor, mask: Tensor, min_std: float = 0.0) -> Tensor:
    """Zero mean and unit variance over the real tokens of the whole batch; zero on padding.

    Args:
        values: `(rows, tokens)`.
        mask: `(rows, tokens)` 1 on response tokens.
        min_std: The divisor is at least this, so that what is nearly constant is not blown up.
    """
    count = mask.sum().clamp(min=1)
    mean = (values * mask).sum() / count
    variance = ((values - mean).square() * mask).sum() / count
    return (values - mean) * torch.rsqrt(variance.clamp(min=min_std**2) + 1e-8) * mask


def policy_loss(
    logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """Clipped surrogate (Schulman 2017, eq. 7), negated and summed over response tokens."""
    ratio = ((logprobs - old_logprobs) * mask).exp()
    worst = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(1 - clip, 1 + clip))
    return (worst * mask).sum()


def value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float) -> Tensor:
    """Half the squared error with the value clipped around the old one, summed over response tokens."""
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    worst = torch.maximum((values - returns).square(), (clipped - returns).square())
    return 0.5 * (worst * mask).sum()


def adapt_kl_coef(kl_coef: float, kl: float, target: float, horizon: float, n: int) -> float:
    """Proportional controller of the price of KL (Ziegler 2019, section 2.2).

    Args:
        kl_coef: Price so far.
        kl: Mean KL to the reference, nats a sequence.
        target: Wanted KL, nats a sequence.
        horizon: Samples over which the price may change by a fifth or so.
        n: Samples since the last call.
    """
    error = min(max(kl / target - 1.0, -0.2), 0.2)
    return kl_coef * (1.0 + error * n / horizon)


@dataclass(frozen=True)
class PPO:
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
       the variety of the texts. So the divisor has a floor, and the learning rate decays linearly to 0.
    8. Adam forgets squared gradients 50 times as fast as by default (beta2 0.95): the gradient of the last
       few texts on the wrong side is small, and would be divided by the size that it had in the first rounds.

    Attributes:
        rounds: Rounds of sampling and updating.
        batch_size: Samples a round, over all processes.
        ppo_epochs: Passes over the samples of a round.
        minibatch_size: Samples an optimiser step; 0 takes the whole batch.
        micro_batch_size: Samples a forward at most, to bound memory; 0 takes the whole minibatch.
        max_new_tokens: Token budget of a completion.
        lr: Learning rate of Adam in the first round; it decays linearly to 0 over the rounds. By default
            0.004 for a model of width 192 or less, and less in proportion for wider ones.
        max_grad_norm: Gradients are clipped to this norm.
        kl_coef: First price of a nat of KL to the base.
        kl_target: KL in nats a sequence that the price is adapted towards; 0 keeps the price fixed.
        kl_horizon: Samples over which the price adapts.
        max_kl: Stop when the KL, in nats a sequence, runs beyond this.
        kl_loss_coef: Weight of KL(policy || base), exact over the vocabulary, at each response position, in
            nats a token: less noisy than the sampled KL in the reward, so that what the reward does not ask
            about keeps its distribution. 0 leaves it out, and saves the memory of the base's distributions.
        kl_loss_temperature: That KL is to the base at this temperature. Above 1 it is an entropy bonus too
            (Schulman 2017, eq. 9), which makes up for the wordings that are lost with the other side.
        anchor_coef: Weight of KL(policy || base), in nats a token, on texts that the base writes unprompted;
            it keeps what nobody asked to move in its place. 0 leaves it out.
        anchor_size: Such texts a round.
        gamma: Discount.
        lam: Lambda of generalised advantage estimation.
        min_std: Advantages are divided by their standard deviation, but by no less than this: once every
            text has nearly the same reward, the small differences left are not blown up to full size.
        clip: Clipping range of the ratio: how much less (or more) likely one round may make a text. The usual
            0.2 corrects rare texts on the wrong side too slowly.
        clip_value: Clipping range of the value.
        vf_coef: Weight of the value loss.
        detach_value: Keep the value loss out of the adapter.
        stop_reward: Stop once the mean reward has been at least this for three rounds; 0 never stops early.
        reward: Recognizer whose probability is the reward.
        lora_rank: Rank of the adapter.
        lora_alpha: The adapter is scaled by alpha over rank.
        target_modules: Linear layers that get an adapter, comma separated, or `all-linear`.
        seed: Seed of the adapter's first weights, of the samples and of the order of minibatches.
    """

    rounds: int = 24
    batch_size: int = 64
    ppo_epochs: int = 4
    minibatch_size: int = 0
    micro_batch_size: int = 64
    max_new_tokens: int = 28
    lr: float | None = None
    max_grad_norm: float = 1.0
    kl_coef: float = 0.005
    kl_target: float = 6.0
    kl_horizon: float = 10_000.0
    max_kl: float = 60.0
    kl_loss_coef: float = 0.3
    kl_loss_temperature: float = 1.8
    anchor_coef: float = 10.0
    anchor_size: int = 32
    gamma: float = 1.0
    lam: float = 1.0
    min_std: float = 0.1
    clip: float = 0.8
    clip_value: float = 0.2
    vf_coef: float = 0.1
    detach_value: bool = True
    stop_reward: float = 0.0
    reward: str = "velma"
    lora_rank: int = 8
    lora_alpha: float = 16.0
    target_modules: str = "all-linear"
    seed: int = 0

    name: ClassVar[str] = "ppo"
    takes: ClassVar[tuple[str, ...]] = ("dipole",)
    surface: ClassVar[Surface] = "weights"
    paper: ClassVar[str] = "Ziegler 2019, arXiv:1909.08593"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        for field in ("rounds", "batch_size", "ppo_epochs", "max_new_tokens", "lora_rank", "anchor_size"):
            if getattr(self, field) < 1:
                raise UserError(f"{field} must be at least 1, and is {getattr(self, field)}.")
        if self.lr is not None and not self.lr >= 0:
            raise UserError(f"lr must be 0 or more, and is {self.lr}.")
        for field in (
            "kl_coef",
            "kl_target",
            "minibatch_size",
            "micro_batch_size",
            "vf_coef",
            "stop_reward",
            "kl_loss_coef",
            "anchor_coef",
            "min_std",
        ):
            if not getattr(self, field) >= 0:
                raise UserError(f"{field} must be 0 or more, and is {getattr(self, field)}.")
        for field in (
            "kl_loss_temperature",
            "max_grad_norm",
            "kl_horizon",
            "max_kl",
            "clip",
            "clip_value",
            "lora_alpha",
        ):
            if not getattr(self, field) > 0:
                raise UserError(f"{field} must be above 0, and is {getattr(self, field)}.")
        for field in ("gamma", "lam"):
            if not 0 <= getattr(self, field) <= 1:
                raise UserError(f"{field} must be between 0 and 1, and is {getattr(self, field)}.")
        if self.batch_size < 8:
            raise UserError(
                f"batch_size must be at least 8, and is {self.batch_size}: advantages are whitened over the "
                "batch, and over fewer samples that erases the reward."
            )

    def fit(
        self,
        lm: LM,
        concept: Any,
        run: Run | None = None,
        recognizer: Recognizer | None = None,
    ) -> Adapter:
        """Train an adapter whose completions the recognizer reads as leaning towards the concept.

        Args:
            lm: The model to steer, without interventions; it stays as it was.
            concept: A dipole with at least one prompt; only its `prompts` are trained on.
            run: Where to log, checkpoint and resume; nothing is written without it.
            recognizer: Reward in place of the one that `reward` names; its probability is used.

        Raises:
            UserError: The concept has no prompts, a prompt leaves no room for the completion, the LM
                already carries interventions, or the run's folder can't be used. Training that had to
                stop early returns what it has, and says why in `run.stopped`.
        """
        from dipole.controls.weights._ppo_rounds import fit_ppo

        return fit_ppo(self, lm, concept, run, recognizer)

    def recognizer(self, judge: LM) -> Recognizer:
        """The recognizer that `reward` names, reading with `judge` where it reads with a model at all.

        Raises:
            UserError: There is no recognizer of that name.
        """
        from dipole.registry import make_recognizer

        recognizer: Recognizer = make_recognizer(self.reward, judge)
        return recognizer

    def learning_rate(self, width: int) -> float:
        """Learning rate of the first round.

        The default falls with the model's width, as the step of each weight must for the outputs to change
        alike (Yang et al. 2022, table 3, for Adam). It was measured at width 192 alone.

        Args:
            width: Width of the residual stream.
        """
        return _LR * min(1.0, _WIDTH / width) if self.lr is None else self.lr

    def minibatches(self, round_index: int, epoch: int) -> list[list[int]]:
        """Global row indices of each optimiser step; the same on every process.

        The first epoch takes rows in order, so that it re-reads exactly the batches in which the old
        log-probabilities were computed and every ratio is exactly 1 before the first step.
        """
        size = self.minibatch_size or self.batch_size
        rows = list(range(self.batch_size))
        if size < self.batch_size and epoch > 0:
            mixed = ((self.seed * 1_000_003 + round_index) * 101 + epoch) % 2**63
            generator = torch.Generator().manual_seed(mixed)
            rows = torch.randperm(self.batch_size, generator=generator).tolist()
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def lora_config(self) -> Any:
        """PEFT's configuration of the adapter; dropout is 0."""
        from peft import LoraConfig

        targets: str | Sequence[str] = self.target_modules
        if targets != "all-linear":
            targets = [t.strip() for t in self.target_modules.split(",") if t.strip()]
        alpha: Any = self.lora_alpha  # PEFT annotates an int and takes any number
        return LoraConfig(
            r=self.lora_rank,
            lora_alpha=alpha,
            lora_dropout=0.0,
            target_modules=targets,
            task_type="CAUSAL_LM",
        )
