"""The round of every method that learns from its own samples: draw, judge, read, hold, update."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from dipole.controls.weights.anchor import Anchor, Anchored, divergence
from dipole.controls.weights.head import Base
from dipole.controls.weights.holding import softening, stop_by_noise
from dipole.controls.weights.loop import Place, Stop
from dipole.controls.weights.on_policy import OnPolicy
from dipole.controls.weights.on_policy_reading import Reader
from dipole.controls.weights.policy import Policy, PolicyOutput
from dipole.controls.weights.ppo_maths import adapt_kl_coef
from dipole.controls.weights.reward import Called, Recognized, Reward, is_function, load_function
from dipole.controls.weights.rollout import (
    Rows,
    gather,
    priors,
    sample_rows,
    share,
    to_rows,
)
from dipole.controls.weights.step import micro, rows_within, set_rate, take_step
from dipole.controls.weights.watching import stop_by_reward, warn_of_repetition
from dipole.protocols import Metrics, Poles
from dipole.recognizers.fitted import recognizer_named
from dipole.types import Sample

_SAMPLED = 64  # completions that are drawn together, where nothing is said of it
_POSITIONS = 128  # states that the softening of the base is found on
_LOW_KL = -0.1  # a sampled KL below this means that samples and log-probabilities disagree


class Judged(NamedTuple):
    """A round's samples, read and judged; tensors of `(rows, tokens)` are in global row order.

    Attributes:
        old: The policy that sampled, before any update.
        reference: Log-probabilities of the base.
        scores: `(rows,)` rewards; NaN where there is none.
        mask: 1 on the response tokens of rows that have one.
    """

    old: PolicyOutput
    reference: Tensor
    scores: Tensor
    mask: Tensor


class Learnable(NamedTuple):
    """What a round learns from; every tensor is `(rows, tokens)` in global row order.

    Attributes:
        old: The policy that sampled, before any update.
        advantages: How much better than expected each token is.
        mask: 1 on the response tokens of rows that could be scored.
        returns: What the values should have been, where there are values.
    """

    old: PolicyOutput
    advantages: Tensor
    mask: Tensor
    returns: Tensor | None = None

    def select(self, rows: list[int]) -> Learnable:
        """Some of the rows."""
        old = PolicyOutput(*(column[rows] for column in self.old))
        returns = None if self.returns is None else self.returns[rows]
        return Learnable(old, self.advantages[rows], self.mask[rows], returns)


class Losses(NamedTuple):
    """What a part of a minibatch adds to its loss.

    Attributes:
        loss: With its gradient; the parts of a minibatch add up.
        shown: The numbers that `OnPolicyRounds.shows` names, without gradient; these add up too.
    """

    loss: Tensor
    shown: Tensor


class OnPolicyRounds(ABC):
    """State of a run between rounds; follows the loop's `Rounds` protocol.

    Attributes:
        shows: Names of what is shown of the losses.
    """

    shows: ClassVar[tuple[str, ...]]

    def __init__(
        self, control: OnPolicy, concept: Poles | None, place: Place, prompts: Sequence[str], policy: Policy
    ) -> None:
        """Set up optimizer and controller."""
        self._control, self._concept, self._prompts, self._policy = control, concept, prompts, policy
        self._lm, self._wrapped, self._accelerator, self._run = place
        self.parameters: Mapping[str, torch.nn.Parameter] = {
            name: p for name, p in policy.named_parameters() if p.requires_grad
        }
        self._rate = control.learning_rate(policy.width)
        self._kl_loss = control.kl_loss(policy.width)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            list(self.parameters.values()), lr=self._rate, betas=(0.9, 0.95)
        )
        longest = max(len(self._lm.prompt_ids(prompt)) for prompt in prompts) + control.max_new_tokens
        most = control.micro_batch_size or rows_within(self._lm.resident, longest, control.live_blocks)
        self._reader = Reader(control, policy, most, len(prompts), self._accelerator)
        self._price = 1.0  # what both prices of KL are multiplied by
        self._temperature = 0.0  # of the base, until it is found
        self._spread = 0.0  # of the first round's rewards, until it is found
        self._wrote: dict[str, Tensor] = {}  # the parameters that wrote this round's texts
        self._sound: dict[str, Tensor] = {}  # those that wrote the texts of the round before
        self._anchor = None
        with self._wrapped.disable_adapter():
            self._reward = self._rewarding()
            if control.anchor_coef:
                self._anchor = Anchor(self._lm, control.anchor_size, control.max_new_tokens, control.seed)

    def _rewarding(self) -> Reward:
        """The function that is named, or a recognizer, which reads the prompts alone first."""
        control, run = self._control, self._run
        if is_function(control.reward) and run.recognizer is None:
            return Called(load_function(control.reward), self._accelerator, run)
        recognizer, prior = run.recognizer or recognizer_named(control.reward, self._lm), None
        if control.centre:
            prior = priors(self._prompts, recognizer, self._concept)
        return Recognized(recognizer, self._concept, self._accelerator, prior)

    @property
    def unit(self) -> float:
        """A unit of reward: the whole range of a probability, the first round's spread of a function's."""
        return 1.0 if self._reward.bounded else self._spread or 1.0

    @abstractmethod
    def learnable(self, judged: Judged, kl_coef: float) -> tuple[Learnable, Metrics]:
        """What is learned from a round's samples, and what there is to say of it.

        Args:
            judged: The samples.
            kl_coef: Price of a nat of KL in the reward.
        """

    @abstractmethod
    def losses(self, now: PolicyOutput, learn: Learnable, mask: Tensor) -> Losses:
        """What a part of a minibatch adds to the loss.

        Args:
            now: What the policy says of the part's rows.
            learn: The part's rows.
            mask: `(rows, tokens)` of the whole minibatch, whose size divides.
        """

    def numbers(self) -> dict[str, float]:
        """The adapted price of KL, how far the base is softened, and how the rewards began."""
        return {"price": self._price, "temperature": self._temperature, "spread": self._spread}

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Take back what `numbers` gave."""
        self._price, self._temperature = float(numbers["price"]), float(numbers["temperature"])
        self._spread = float(numbers["spread"])

    def round(self, index: int) -> Metrics:
        """Sample, score and update once."""
        rate = self._rate * (1 - index / self._control.rounds)
        set_rate(self.optimizer, rate)
        samples = self._sample(index)
        rows = to_rows(samples, self._lm.resident.pad_id, self._lm.resident.device)
        with self._wrapped.disable_adapter():  # for the reference, and for a judge that shares the weights
            scores = torch.tensor(self._judge(samples), dtype=torch.float32, device=rows.mask.device)
            hidden = self._reader.states(rows)
            reference = self._policy.said(rows, hidden).logprobs
            anchor = None
            if self._anchor is not None:
                anchor = self._anchor.of(index, self._policy, self._accelerator)
        base = self._base(rows, hidden) if self._kl_loss else None
        fused = self._reader.once(rows, base) if self._reader.is_one_forward() else None
        judged = Judged(
            self._reader.read(rows, fused), reference, scores, rows.mask * ~scores.isnan()[:, None]
        )
        learn, metrics = self._estimate(rows, judged)
        before = {name: p.detach().clone() for name, p in self.parameters.items()}
        metrics.update(self._update(index, rows, learn, fused, anchor, base))
        self._wrote, self._sound = before, self._wrote
        metrics["lr"] = rate
        if self._concept is not None:
            metrics["repeated_claim"] = warn_of_repetition(self._run, samples, self._concept)
        if metrics["kl"] < _LOW_KL:
            self._run.warn(
                f"The sampled KL is {metrics['kl']:.2f} nats a sequence, and a KL can't be negative: samples "
                "and log-probabilities disagree. Please report the model and the settings."
            )
        return metrics

    def stop(self, history: list[Metrics]) -> Stop | None:
        """Runaway KL, text that turns to noise, a reward that never moves, or a goal that is reached."""
        kl, most = history[-1]["kl"], self._control.max_kl
        if history[-1]["scored"] and kl > most:
            return Stop(
                f"Training stopped in round {len(history)}: the KL to the base ran away to {kl:.1f} "
                f"nats a sequence (max_kl {most:g}). The weights are those of the round before. Lower "
                "the learning rate or raise kl_coef.",
                undo=True,
            )
        noise = stop_by_noise(history, self._control.max_perplexity)
        if noise is not None:
            self._set(self._sound or self._wrote)
        return noise or stop_by_reward(history, self._control.stop_reward, self.unit, self._reward.bounded)

    @torch.no_grad()
    def _set(self, parameters: Mapping[str, Tensor]) -> None:
        for name, values in parameters.items():
            self.parameters[name].copy_(values)

    def _sample(self, index: int) -> list[Sample]:
        """All samples of the round, in global row order, on every process; groups stand together."""
        control, prompts = self._control, self._prompts
        mine = share(control.batch_size, self._accelerator)
        first = index * control.batch_size
        asked = [prompts[(first + row) // control.group_size % len(prompts)] for row in mine]
        size = micro(len(mine), control.micro_batch_size or _SAMPLED)
        drawn = sample_rows(self._lm, asked, mine, index, control.seed, control.max_new_tokens, size)
        return gather(drawn, mine, self._accelerator)

    def _judge(self, samples: list[Sample]) -> list[float]:
        return self._reward(samples)

    def _base(self, rows: Rows, hidden: Tensor) -> Base:
        """What the base would say at each response position, softened."""
        if not self._temperature:
            some = hidden[rows.mask > 0]
            some = some[:: max(1, len(some) // _POSITIONS)]
            most, bonus = self._control.kl_loss_temperature, self._control.entropy_bonus
            self._temperature = softening(partial(self._policy.softened, some), most, bonus)
        return Base(hidden, self._temperature)

    def _estimate(self, rows: Rows, judged: Judged) -> tuple[Learnable, Metrics]:
        """What is learned, and what is measured; the price of KL is adapted on the way."""
        control, kl_coef = self._control, self._price * self._control.kl_coef
        metrics = {**_measured(rows, judged), "kl_coef": kl_coef}
        if control.kl_target > 0:
            n = control.batch_size
            price = adapt_kl_coef(self._price, metrics["kl"], control.kl_target, control.kl_horizon, n)
            self._price = max(1.0, price)
        self._spread = self._spread or metrics["reward_std"]
        learn, more = self.learnable(judged, kl_coef)
        return learn, {**metrics, **more}

    def _update(
        self,
        index: int,
        rows: Rows,
        learn: Learnable,
        fused: PolicyOutput | None,
        anchor: Anchored | None,
        base: Base | None,
    ) -> Metrics:
        """Every optimiser step of the round."""
        control, totals = self._control, torch.zeros(len(self.shows) + 1, device=rows.mask.device)
        largest, norm, steps = torch.ones(1, device=rows.mask.device), 0.0, 0

        def losses(minibatch: list[int]) -> Iterator[Tensor]:
            nonlocal largest
            mask = learn.mask[minibatch]
            for some in () if anchor is None else anchor.parts(self._reader.most):
                pulled = divergence(self._policy, some)
                totals[-1] += pulled.detach()
                yield control.anchor_coef * pulled
            for part in self._reader.parts(minibatch):
                if fused is not None and steps == 0:
                    now = fused
                else:
                    now = self._policy(rows.select(part), base=None if base is None else base.select(part))
                here = learn.select(part)
                terms = self.losses(now, here, mask)
                totals[:-1] += terms.shown
                largest = torch.maximum(largest, _largest_ratio(now, here))
                apart = (now.divergence * here.mask).sum() / mask.sum().clamp(min=1)
                yield terms.loss + self._price * self._kl_loss * apart

        parameters = list(self.parameters.values())
        for epoch in range(control.epochs):
            for minibatch in control.minibatches(index, epoch):
                norm = take_step(
                    self.optimizer, parameters, losses(minibatch), control.max_grad_norm, self._accelerator
                )
                steps += 1
                if not math.isfinite(norm):
                    return {"policy_loss": math.nan, "grad_norm": norm}
        shown = (self._accelerator.reduce(totals, "sum") / steps).tolist()
        return {
            **dict(zip((*self.shows, "anchor_kl"), shown, strict=True)),
            "ratio_max": self._accelerator.gather(largest).max().item(),
            "grad_norm": norm,
        }


def _measured(rows: Rows, judged: Judged) -> Metrics:
    """What there is to say of a round's samples, whatever is learned from them."""
    old, reference, mask = judged.old, judged.reference, rows.mask
    log_ratio = (old.logprobs - reference) * mask
    known = judged.scores[~judged.scores.isnan()]
    return {
        "reward_mean": known.mean().item() if len(known) else 0.0,
        "reward_std": known.std(unbiased=False).item() if len(known) else 0.0,
        "scored": float(len(known)),
        "kl": log_ratio.sum(1).mean().item(),
        "kl_k3": ((-log_ratio).exp() - 1 + log_ratio).sum(1).mean().item(),
        "entropy": ((old.entropy * mask).sum() / mask.sum()).item(),
        "base_nats": (-(reference * mask).sum() / mask.sum()).item(),
        "tokens": mask.sum(1).mean().item(),
    }


def _largest_ratio(now: PolicyOutput, learn: Learnable) -> Tensor:
    change = (now.logprobs.detach() - learn.old.logprobs).abs() * learn.mask
    return change.max().clamp(max=50.0).exp()
