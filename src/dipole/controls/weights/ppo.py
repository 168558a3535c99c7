"""Proximal policy optimisation of a LoRA adapter on any text reward (Ziegler 2019, Bricman 2022)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from dipole.controls._concept import require_dipole
from dipole.controls.weights.anchor import Anchor, Anchored, divergence
from dipole.controls.weights.head import Base
from dipole.controls.weights.holding import softening, stop_by_noise
from dipole.controls.weights.loop import Place, Stop, train
from dipole.controls.weights.policy import Policy, PolicyOutput
from dipole.controls.weights.ppo_maths import (
    adapt_kl_coef,
    gae,
    policy_loss,
    shaped_rewards,
    value_loss,
    whiten,
)
from dipole.controls.weights.rollout import (
    Rows,
    gather,
    judge,
    priors,
    sample_rows,
    share,
    to_rows,
)
from dipole.controls.weights.settings import Trained, rate_for, require
from dipole.controls.weights.step import micro, parts, rows_within, set_rate, shuffled, take_step
from dipole.controls.weights.watching import stop_by_reward, warn_of_repetition
from dipole.interventions.weights import Adapter
from dipole.protocols import LM, JudgedBy, Metrics, Poles, Run
from dipole.registry import make_recognizer
from dipole.types import Sample, UserError

_LR = 4e-3
_SAMPLED = 64  # completions that are drawn together, where nothing is said of it
_POSITIONS = 128  # states that the softening of the base is found on
_LOW_KL = -0.1  # a sampled KL below this means that samples and log-probabilities disagree


@dataclass(frozen=True)
class PPO(Trained):
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
        rounds: Rounds of sampling and updating.
        batch_size: Samples a round, over all processes.
        ppo_epochs: Passes over the samples of a round.
        minibatch_size: Samples an optimiser step; 0 takes the whole batch.
        micro_batch_size: Samples a forward at most, to bound memory; 0 takes as many as should fit in 1 GiB.
        max_new_tokens: Token budget of a completion.
        lr: Learning rate of Adam in the first round; it decays linearly to 0 over the rounds. By default
            0.004 for a model of width 192 or less, and less by the root of the width for wider ones.
        max_grad_norm: Gradients are clipped to this norm.
        kl_coef: First price of a nat of KL to the base.
        kl_target: KL in nats a sequence beyond which the price grows, with that of `kl_loss_coef`; 0 keeps
            both fixed.
        kl_horizon: Samples over which the price may grow by a fifth.
        max_kl: Stop when the KL, in nats a sequence, runs beyond this.
        max_perplexity: Stop, and undo, when the perplexity of a round's texts under the base is this many
            times that of the first round's, beyond what taking a rare side costs.
        kl_loss_coef: Weight of KL(policy || base), exact over the vocabulary, at each response position, in
            nats a token: less noisy than the sampled KL in the reward, so that what the reward does not ask
            about keeps its distribution. 0 leaves it out, and saves the memory of the base's distributions.
        kl_loss_temperature: That KL is to the base at this temperature, or less where `entropy_bonus` says
            so. Above 1 it is an entropy bonus too (Schulman 2017, eq. 9), which makes up for the wordings
            that are lost with the other side.
        entropy_bonus: Nats a token that the temperature may add to the base's entropy; it is lowered until it
            adds no more.
        anchor_coef: Weight of KL(policy || base), in nats a token, on texts that the base writes unprompted;
            it keeps what nobody asked to move in its place. 0 leaves it out.
        anchor_size: Such texts a round.
        gamma: Discount.
        lam: Lambda of generalised advantage estimation.
        min_std: Advantages are divided by their standard deviation, but by no less than this share of that of
            the first round's rewards: once every text has nearly the same reward, the small differences left
            are not blown up to full size.
        clip: Clipping range of the ratio: how much less (or more) likely one round may make a text. The usual
            0.2 corrects rare texts on the wrong side too slowly.
        clip_value: Clipping range of the value.
        vf_coef: Weight of the value loss.
        detach_value: Keep the value loss out of the adapter.
        stop_reward: Stop once the mean reward has been at least this for three rounds; 0 never stops early.
        reward: Recognizer whose probability is the reward.
        centre: Subtract what the recognizer says of the prompt alone, in log-odds.
        seed: Seed of the adapter's first weights, of the samples and of the order of minibatches.
    """

    rounds: int = 24
    batch_size: int = 64
    ppo_epochs: int = 4
    minibatch_size: int = 0
    micro_batch_size: int = 0
    max_new_tokens: int = 28
    lr: float | None = None
    max_grad_norm: float = 1.0
    kl_coef: float = 0.005
    kl_target: float = 6.0
    kl_horizon: float = 64.0
    max_kl: float = 60.0
    max_perplexity: float = 1.5
    kl_loss_coef: float = 0.3
    kl_loss_temperature: float = 1.8
    entropy_bonus: float = 0.75
    anchor_coef: float = 10.0
    anchor_size: int = 32
    gamma: float = 1.0
    lam: float = 1.0
    min_std: float = 0.25
    clip: float = 0.8
    clip_value: float = 0.2
    vf_coef: float = 0.1
    detach_value: bool = True
    stop_reward: float = 0.0
    reward: str = "stance"
    centre: bool = True

    name: ClassVar[str] = "ppo"
    paper: ClassVar[str] = "Ziegler 2019, arXiv:1909.08593"
    optional_concept: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        counts = ("rounds", "batch_size", "ppo_epochs", "max_new_tokens", "lora_rank", "anchor_size")
        require(self, "at least 1", lambda v: v >= 1, *counts)
        if self.lr is not None:
            require(self, "0 or more", lambda v: v >= 0, "lr")
        sizes = ("minibatch_size", "micro_batch_size")
        weights = ("kl_coef", "kl_target", "vf_coef", "stop_reward", "kl_loss_coef", "anchor_coef", "min_std")
        require(self, "0 or more", lambda v: v >= 0, *sizes, *weights, "entropy_bonus")
        ranges = ("kl_loss_temperature", "max_grad_norm", "kl_horizon", "max_kl", "clip", "clip_value")
        require(self, "above 0", lambda v: v > 0, *ranges, "lora_alpha")
        require(self, "between 0 and 1", lambda v: 0 <= v <= 1, "gamma", "lam")
        require(self, "above 1", lambda v: v > 1, "max_perplexity")
        if self.batch_size < 8:
            raise UserError(
                f"batch_size must be at least 8, and is {self.batch_size}: advantages are whitened over the "
                "batch, and over fewer samples that erases the reward."
            )

    @property
    def judged_by(self) -> JudgedBy:
        """The reward."""
        return JudgedBy((self.reward,))

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Adapter:
        """Train an adapter whose completions the recognizer reads as leaning towards the concept.

        Args:
            lm: The model to steer, without interventions; it stays as it was.
            concept: A dipole with at least one prompt; only its `prompts` are trained on.
            run: Where to log, checkpoint and resume; nothing is written without it. Its recognizer is the
                reward in place of the one that `reward` names; its probability is used.

        Raises:
            UserError: The concept has no prompts, a prompt leaves no room for the completion, the LM
                already carries interventions, or the run's folder can't be used. Training that had to
                stop early returns what it has, and says why in `run.stopped`.
        """
        dipole = require_dipole(self, concept)
        if not dipole.prompts:
            raise UserError(
                "ppo needs at least one prompt to complete, one that forces the topic, such as "
                '--prompt "If I were to choose between paper clips and staples, I\'d definitely go with".'
            )
        for prompt in dipole.prompts:
            lm.require_room(prompt, self.max_new_tokens)
        return train(self, lm, run, lambda place: PPORounds(self, dipole, place))

    def learning_rate(self, width: int) -> float:
        """Learning rate of the first round, for a residual stream of this width."""
        return rate_for(self.lr, _LR, width)

    def minibatches(self, round_index: int, epoch: int) -> list[list[int]]:
        """Global row indices of each optimiser step; the same on every process.

        The first epoch takes rows in order, so that it re-reads exactly the batches in which the old
        log-probabilities were computed and every ratio is exactly 1 before the first step.
        """
        size = self.minibatch_size or self.batch_size
        rows = list(range(self.batch_size))
        if size < self.batch_size and epoch > 0:
            rows = shuffled(self.batch_size, ((self.seed * 1_000_003 + round_index) * 101 + epoch) % 2**63)
        return [rows[start : start + size] for start in range(0, len(rows), size)]


class Learnable(NamedTuple):
    """What a round learns from; every tensor is `(rows, tokens)` in global row order.

    Attributes:
        old: The policy that sampled, before any update.
        advantages: Whitened over the batch.
        returns: What the values should have been.
        mask: 1 on the response tokens of rows that could be scored.
    """

    old: PolicyOutput
    advantages: Tensor
    returns: Tensor
    mask: Tensor

    def select(self, rows: list[int]) -> Learnable:
        """Some of the rows."""
        old = PolicyOutput(*(column[rows] for column in self.old))
        return Learnable(old, self.advantages[rows], self.returns[rows], self.mask[rows])


class PPORounds:
    """State of a PPO run between rounds; follows the loop's `Rounds` protocol."""

    def __init__(self, ppo: PPO, concept: Poles, place: Place) -> None:
        """Set up policy, optimizer and controller."""
        self._ppo, self._concept = ppo, concept
        self._lm, self._wrapped, self._accelerator, self._run = place
        self._recognizer = self._run.recognizer or make_recognizer(ppo.reward, self._lm)
        self._policy = Policy(self._lm, self._wrapped, ppo.detach_value)
        self.parameters: Mapping[str, torch.nn.Parameter] = {
            name: p for name, p in self._policy.named_parameters() if p.requires_grad
        }
        self._rate = ppo.learning_rate(self._policy.value_head.in_features)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            list(self.parameters.values()), lr=self._rate, betas=(0.9, 0.95)
        )
        longest = max(len(self._lm.prompt_ids(prompt)) for prompt in concept.prompts) + ppo.max_new_tokens
        self._micro = ppo.micro_batch_size or rows_within(self._lm.resident, longest)
        self._price = 1.0  # what both prices of KL are multiplied by
        self._temperature = 0.0  # of the base, until it is found
        self._spread = 0.0  # of the first round's rewards, until it is found
        self._wrote: dict[str, Tensor] = {}  # the parameters that wrote this round's texts
        self._sound: dict[str, Tensor] = {}  # those that wrote the texts of the round before
        self._anchor, self._prior = None, None
        with self._wrapped.disable_adapter():
            if ppo.centre:
                self._prior = priors(concept.prompts, self._recognizer, concept)
            if ppo.anchor_coef:
                self._anchor = Anchor(self._lm, ppo.anchor_size, ppo.max_new_tokens, ppo.seed)

    def numbers(self) -> dict[str, float]:
        """The adapted price of KL, how far the base is softened, and how the rewards began."""
        return {"price": self._price, "temperature": self._temperature, "spread": self._spread}

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Take back what `numbers` gave."""
        self._price, self._temperature = float(numbers["price"]), float(numbers["temperature"])
        self._spread = float(numbers["spread"])

    def round(self, index: int) -> Metrics:
        """Sample, score and update once."""
        rate = self._rate * (1 - index / self._ppo.rounds)
        set_rate(self.optimizer, rate)
        samples = self._sample(index)
        rows = to_rows(samples, self._lm.resident.pad_id, self._lm.resident.device)
        with self._wrapped.disable_adapter():  # for the reference, and for a judge that shares the weights
            scores = torch.tensor(self._judge(samples), device=rows.mask.device)
            hidden = self._states(rows)
            reference = self._policy.said(rows, hidden).logprobs
            anchor = None
            if self._anchor is not None:
                anchor = self._anchor.of(index, self._policy, self._accelerator)
        base = self._base(rows, hidden) if self._ppo.kl_loss_coef else None
        fused = self._read_once(rows, base) if self._is_one_forward() else None
        old = self._read(rows, fused)
        learn, metrics = self._estimate(rows, old, reference, scores)
        before = {name: p.detach().clone() for name, p in self.parameters.items()}
        metrics.update(self._update(index, rows, learn, fused, anchor, base))
        self._wrote, self._sound = before, self._wrote
        metrics["lr"] = rate
        metrics["repeated_claim"] = warn_of_repetition(self._run, samples, self._concept)
        if metrics["kl"] < _LOW_KL:
            self._run.warn(
                f"The sampled KL is {metrics['kl']:.2f} nats a sequence, and a KL can't be negative: samples "
                "and log-probabilities disagree. Please report the model and the settings."
            )
        return metrics

    def stop(self, history: list[Metrics]) -> Stop | None:
        """Runaway KL, text that turns to noise, a reward that never moves, or a goal that is reached."""
        kl, most = history[-1]["kl"], self._ppo.max_kl
        if history[-1]["scored"] and kl > most:
            return Stop(
                f"Training stopped in round {len(history)}: the KL to the base ran away to {kl:.1f} "
                f"nats a sequence (max_kl {most:g}). The weights are those of the round before. Lower "
                "the learning rate or raise kl_coef.",
                undo=True,
            )
        noise = stop_by_noise(history, self._ppo.max_perplexity)
        if noise is not None:
            self._set(self._sound or self._wrote)
        return noise or stop_by_reward(history, self._ppo.stop_reward)

    @torch.no_grad()
    def _set(self, parameters: Mapping[str, Tensor]) -> None:
        for name, values in parameters.items():
            self.parameters[name].copy_(values)

    def _sample(self, index: int) -> list[Sample]:
        """All samples of the round, in global row order, on every process."""
        ppo, prompts = self._ppo, self._concept.prompts
        mine = share(ppo.batch_size, self._accelerator)
        offset = index * ppo.batch_size
        asked = [prompts[(offset + row) % len(prompts)] for row in mine]
        size = micro(len(mine), ppo.micro_batch_size or _SAMPLED)
        drawn = sample_rows(self._lm, asked, mine, index, ppo.seed, ppo.max_new_tokens, size)
        return gather(drawn, mine, self._accelerator)

    def _judge(self, samples: list[Sample]) -> list[float]:
        return judge(samples, self._recognizer, self._concept, self._accelerator, self._prior)

    def _base(self, rows: Rows, hidden: Tensor) -> Base:
        """What the base would say at each response position, softened."""
        if not self._temperature:
            some = hidden[rows.mask > 0]
            some = some[:: max(1, len(some) // _POSITIONS)]
            most, bonus = self._ppo.kl_loss_temperature, self._ppo.entropy_bonus
            self._temperature = softening(partial(self._policy.softened, some), most, bonus)
        return Base(hidden, self._temperature)

    def _parts(self, minibatch: list[int]) -> list[list[int]]:
        return parts(minibatch, self._micro, self._accelerator)

    def _is_one_forward(self) -> bool:
        """Whether an epoch is one forward on every process; all must agree, or they would wait for ever."""
        size, total = self._ppo.minibatch_size or self._ppo.batch_size, self._ppo.batch_size
        largest_share = -(-total // self._accelerator.num_processes)
        return size >= total and micro(largest_share, self._micro) == largest_share

    def _read_once(self, rows: Rows, base: Base | None) -> PolicyOutput:
        """The policy with its graph: the first update and the old policy are then one and the same pass."""
        part = self._parts(list(range(len(rows.mask))))[0]
        output: PolicyOutput = self._policy(
            rows.select(part), entropy=True, base=None if base is None else base.select(part)
        )
        return output

    @torch.no_grad()
    def _read(self, rows: Rows, fused: PolicyOutput | None) -> PolicyOutput:
        """What the policy says as it stands, entropy too."""
        if fused is not None:
            columns = [self._whole([column]) for column in fused.detach()]
        else:
            found = [self._policy(rows.select(part), entropy=True) for part in self._all_parts()]
            columns = [self._whole(column) for column in zip(*found, strict=True)]
        return PolicyOutput(*columns)

    @torch.no_grad()
    def _states(self, rows: Rows) -> Tensor:
        """What the base reads of the rows."""
        return self._whole([self._policy.read(rows.select(part)) for part in self._all_parts()])

    def _all_parts(self) -> list[list[int]]:
        """The very batches that the first epoch will use, because another may differ in the last bit."""
        return [part for batch in self._ppo.minibatches(0, 0) for part in self._parts(batch)]

    def _whole(self, found: Sequence[Tensor]) -> Tensor:
        """What was read in parts, in the order of the rows, of all processes."""
        order = [row for part in self._all_parts() for row in part]
        column = torch.cat(list(found))
        whole = gather(list(column.cpu()), order, self._accelerator)
        return torch.stack(whole).to(column.device)

    def _estimate(
        self, rows: Rows, old: PolicyOutput, reference: Tensor, scores: Tensor
    ) -> tuple[Learnable, Metrics]:
        ppo = self._ppo
        scored = ~scores.isnan()
        mask = rows.mask * scored[:, None]
        rewards = shaped_rewards(
            scores.nan_to_num(), old.logprobs, reference, mask, self._price * ppo.kl_coef
        )
        advantages, returns = gae(rewards, old.values, mask, ppo.gamma, ppo.lam)
        log_ratio = (old.logprobs - reference) * rows.mask
        kl = log_ratio.sum(1).mean().item()
        k3 = ((-log_ratio).exp() - 1 + log_ratio).sum(1).mean().item()
        known = scores[scored]
        metrics: Metrics = {
            "reward_mean": known.mean().item() if len(known) else 0.0,
            "reward_std": known.std(unbiased=False).item() if len(known) else 0.0,
            "scored": float(scored.sum().item()),
            "kl": kl,
            "kl_k3": k3,
            "kl_coef": self._price * ppo.kl_coef,
            "entropy": ((old.entropy * rows.mask).sum() / rows.mask.sum()).item(),
            "base_nats": (-(reference * rows.mask).sum() / rows.mask.sum()).item(),
            "tokens": rows.mask.sum(1).mean().item(),
        }
        if ppo.kl_target > 0:
            price = adapt_kl_coef(self._price, kl, ppo.kl_target, ppo.kl_horizon, ppo.batch_size)
            self._price = max(1.0, price)
        self._spread = self._spread or metrics["reward_std"]
        return Learnable(old, whiten(advantages, mask, ppo.min_std * self._spread), returns, mask), metrics

    def _update(
        self,
        index: int,
        rows: Rows,
        learn: Learnable,
        fused: PolicyOutput | None,
        anchor: Anchored | None,
        base: Base | None,
    ) -> Metrics:
        """Every optimiser step of the round; sums over tokens are divided by the global minibatch's count."""
        ppo, totals = self._ppo, torch.zeros(4, device=rows.mask.device)
        largest, norm, steps = torch.ones(1, device=rows.mask.device), 0.0, 0

        def losses(minibatch: list[int]) -> Iterator[Tensor]:
            nonlocal largest
            count = learn.mask[minibatch].sum().clamp(min=1)
            for some in () if anchor is None else anchor.parts(self._micro):
                pulled = divergence(self._policy, some)
                totals[3] += pulled.detach()
                yield ppo.anchor_coef * pulled
            for part in self._parts(minibatch):
                if fused is not None and steps == 0:
                    now = fused
                else:
                    now = self._policy(rows.select(part), base=None if base is None else base.select(part))
                terms = _losses(ppo, now, learn.select(part)) / count
                totals[:3] += terms[:3].detach()
                largest = torch.maximum(largest, _largest_ratio(now, learn.select(part)))
                yield terms[0] + ppo.vf_coef * terms[1] + self._price * ppo.kl_loss_coef * terms[3]

        parameters = list(self.parameters.values())
        for epoch in range(ppo.ppo_epochs):
            for minibatch in ppo.minibatches(index, epoch):
                norm = take_step(
                    self.optimizer, parameters, losses(minibatch), ppo.max_grad_norm, self._accelerator
                )
                steps += 1
                if not math.isfinite(norm):
                    return {"policy_loss": math.nan, "grad_norm": norm}
        policy, value, clipped, pulled = (self._accelerator.reduce(totals, "sum") / steps).tolist()
        return {
            "policy_loss": policy,
            "value_loss": value,
            "clip_fraction": clipped,
            "anchor_kl": pulled,
            "ratio_max": self._accelerator.gather(largest).max().item(),
            "grad_norm": norm,
        }


def _losses(ppo: PPO, now: PolicyOutput, learn: Learnable) -> Tensor:
    """Sums over response tokens of policy loss, value loss, clipped ratios and KL to the base, `(4,)`."""
    old, mask = learn.old, learn.mask
    policy = policy_loss(now.logprobs, old.logprobs, learn.advantages, mask, ppo.clip)
    value = value_loss(now.values, old.values, learn.returns, mask, ppo.clip_value)
    ratio = (now.logprobs.detach() - old.logprobs).exp()
    clipped = (((ratio - 1).abs() > ppo.clip) * mask).sum()
    return torch.stack([policy, value, clipped, (now.divergence * mask).sum()])


def _largest_ratio(now: PolicyOutput, learn: Learnable) -> Tensor:
    change = (now.logprobs.detach() - learn.old.logprobs).abs() * learn.mask
    return change.max().clamp(max=50.0).exp()
