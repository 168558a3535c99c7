"""The rounds of PPO: sample, score, estimate advantages, update."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dipole.concepts.text import same_pole, same_text
from dipole.controls.weights._loop import Metrics, Run, Stop, run_rounds
from dipole.controls.weights._policy import Policy, PolicyOutput
from dipole.controls.weights._rollout import Rows, gather, sample_rows, share, to_rows
from dipole.controls.weights._targets import targets_of, with_targets
from dipole.controls.weights.ppo import (
    PPO,
    adapt_kl_coef,
    gae,
    policy_loss,
    shaped_rewards,
    value_loss,
    whiten,
)
from dipole.engaging.adapters import adapter_state, inject
from dipole.engaging.stack import Tree
from dipole.interventions.weights import Adapter
from dipole.protocols import Recognizer
from dipole.types import Sample, UserError, sample_seed, scored_text

if TYPE_CHECKING:
    from dipole.protocols import LM

ADAPTER = "dipole_0"
_STALL_ROUNDS = 20
_STALL_MOVE = 0.01
_ANCHOR_SETS = 8  # rounds after which the anchor texts come round again
_LOW_KL = -0.1  # a sampled KL below this means that samples and log-probabilities disagree


class Anchored(NamedTuple):
    """Texts of the base whose distribution must not move.

    Attributes:
        rows: This process's share of them.
        reference: `(rows, tokens, vocab)` the base's log-probabilities.
        tokens: Tokens of all processes together.
    """

    rows: Rows
    reference: Tensor
    tokens: Tensor


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


def fit_ppo(ppo: PPO, lm: LM, concept: Any, run: Run | None, recognizer: Recognizer | None) -> Adapter:
    """Train and return the adapter; see `PPO.fit`."""
    from accelerate import Accelerator

    prompts = _check(ppo, lm, concept)
    run = run or Run()
    accelerator = Accelerator(cpu=lm.resident.device.type == "cpu")
    if ppo.batch_size < accelerator.num_processes:
        raise UserError(
            f"batch_size is {ppo.batch_size}, and {accelerator.num_processes} processes need at least one "
            "sample each; raise batch_size or start fewer processes."
        )
    config, note = _lora(ppo, lm)
    with _live_adapter(ppo, lm, config) as wrapped:
        rounds = PPORounds(ppo, lm, concept, prompts, recognizer or ppo.recognizer(lm), wrapped, accelerator)
        rounds.warnings = run.warnings  # one list, so that a checkpoint holds what was said so far
        rounds.note = note
        run_rounds(rounds, ppo.rounds, run, accelerator)
        state = adapter_state(wrapped, ADAPTER)
    config.base_model_name_or_path = lm.resident.name
    config.inference_mode = True
    return Adapter(config, state, lm.resident.fingerprint, lm.resident.name)


def _check(ppo: PPO, lm: LM, concept: Any) -> tuple[str, ...]:
    kind = getattr(concept, "kind", type(concept).__name__)
    if kind not in ppo.takes:
        raise UserError(f"ppo cannot be fitted to a {kind}; it takes a {' or '.join(ppo.takes)}.")
    if lm.applied:
        raise UserError(
            "ppo trains on top of a base model, and this LM already carries interventions; fit on lm.base, "
            "and apply both interventions afterwards."
        )
    if not concept.prompts:
        raise UserError(
            "ppo needs at least one prompt to complete, one that forces the topic, such as "
            '--prompt "If I were to choose between paper clips and staples, I\'d definitely go with".'
        )
    for prompt in concept.prompts:
        lm.require_room(prompt, ppo.max_new_tokens)
    return tuple(concept.prompts)


def _lora(ppo: PPO, lm: LM) -> tuple[Any, str]:
    """The adapter's configuration for this model, and what is to be told of what it is put on."""
    with lm.resident.turn():
        targets = targets_of(lm.resident.model, ppo.lora_config())
    return with_targets(ppo.lora_config(), targets), targets.note


@contextmanager
def _live_adapter(ppo: PPO, lm: LM, config: Any = None) -> Iterator[Any]:
    """The resident model with a fresh adapter injected, seeded and trainable, for the length of the fit."""
    model = lm.resident.model
    with lm.resident.turn():
        before = Tree(model)
        with torch.random.fork_rng(devices=_cuda_devices(model)):
            torch.manual_seed(ppo.seed)
            wrapped = inject(model, [config or ppo.lora_config()])
        try:
            wrapped.eval()  # dropout stays off: the policy that samples and the one that learns are the same
            yield wrapped
        finally:
            before.restore()


def _cuda_devices(model: Any) -> list[int]:
    return sorted({p.device.index or 0 for p in model.parameters() if p.device.type == "cuda"})


class PPORounds:
    """State of a PPO run between rounds; follows the loop's `Rounds` protocol."""

    def __init__(
        self,
        ppo: PPO,
        lm: LM,
        concept: Any,
        prompts: tuple[str, ...],
        recognizer: Recognizer,
        wrapped: Any,
        accelerator: Any,
    ) -> None:
        """Set up policy, optimizer and controller."""
        self._ppo, self._lm, self._concept, self._prompts = ppo, lm, concept, prompts
        self._recognizer, self._wrapped, self._accelerator = recognizer, wrapped, accelerator
        self._policy = Policy(lm.resident, wrapped, ppo.detach_value)
        self.parameters: Mapping[str, torch.nn.Parameter] = {
            name: p for name, p in self._policy.named_parameters() if p.requires_grad
        }
        self._rate = ppo.learning_rate(self._policy.value_head.in_features)
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            list(self.parameters.values()), lr=self._rate, betas=(0.9, 0.95)
        )
        self._kl_coef = ppo.kl_coef
        self._anchor = self._draw_anchor() if ppo.anchor_coef else None
        self.warnings: list[str] = []
        self.note = ""

    def numbers(self) -> dict[str, float]:
        """The adapted price of KL."""
        return {"kl_coef": self._kl_coef}

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Take back what `numbers` gave."""
        self._kl_coef = float(numbers["kl_coef"])

    def round(self, index: int) -> Metrics:
        """Sample, score and update once."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate * (1 - index / self._ppo.rounds)
        samples = self._sample(index)
        rows = to_rows(samples, self._lm.resident.pad_id, self._lm.resident.device)
        with self._wrapped.disable_adapter():  # for the reference, and for a judge that shares the weights
            scores = self._judge(samples)
            reference = self._read(rows).logprobs
            anchor = self._anchor_of(index)
            base = self._distributions(rows)
        fused = self._read_once(rows, base) if self._is_one_forward() else None
        old = self._read(rows, fused, entropy=True)
        learn, metrics = self._estimate(rows, old, reference, scores)
        metrics.update(self._update(index, rows, learn, fused, anchor, base))
        metrics["lr"] = self._rate * (1 - index / self._ppo.rounds)
        self._warn(samples, metrics)
        return metrics

    def stop(self, history: list[Metrics]) -> Stop | None:
        """Runaway KL, a reward that never moves, or a goal that is reached."""
        last, ppo = history[-1], self._ppo
        if last["scored"] == 0:
            return Stop(
                "Training stopped: none of the samples of a round could be scored by the reward.", undo=True
            )
        if last["kl"] > ppo.max_kl:
            return Stop(
                f"Training stopped in round {len(history)}: the KL to the base ran away to {last['kl']:.1f} "
                f"nats a sequence (max_kl {ppo.max_kl:g}). The weights are those of the round before. Lower "
                "the learning rate or raise kl_coef.",
                undo=True,
            )
        rewards = [m["reward_mean"] for m in history]
        if len(history) >= _STALL_ROUNDS and max(rewards) - min(rewards) < _STALL_MOVE and rewards[-1] < 0.95:
            return Stop(
                f"Training stopped after {len(history)} rounds: the reward never moved (it stayed at "
                f"{rewards[-1]:.3f}). The recognizer may not tell the poles apart after this prompt; try "
                "`dipole score` on two completions, another prompt, or other wordings of the poles."
            )
        if ppo.stop_reward and len(history) >= 3 and min(rewards[-3:]) >= ppo.stop_reward:
            return Stop(f"Reached the reward of {ppo.stop_reward:g} after {len(history)} rounds.")
        return None

    def _sample(self, index: int) -> list[Sample]:
        """All samples of the round, in global row order, on every process."""
        ppo = self._ppo
        mine = share(ppo.batch_size, self._accelerator)
        offset = index * ppo.batch_size
        prompts = [self._prompts[(offset + row) % len(self._prompts)] for row in mine]
        micro = self._micro(len(mine))
        drawn = sample_rows(self._lm, prompts, mine, index, ppo.seed, ppo.max_new_tokens, micro)
        return gather(drawn, mine, self._accelerator)

    def _draw_anchor(self) -> Rows:
        """Texts that the base writes unprompted; its distribution over them is what must not move."""
        ppo = self._ppo
        with self._wrapped.disable_adapter():
            drawn = self._lm.generate(
                "", ppo.anchor_size * _ANCHOR_SETS, ppo.max_new_tokens, seed=sample_seed(ppo.seed, 0, 1 << 40)
            )
        return to_rows(drawn, self._lm.resident.pad_id, self._lm.resident.device)

    def _anchor_of(self, index: int) -> Anchored | None:
        """This process's share of a round's anchor texts, with the base's distributions over them."""
        if self._anchor is None:
            return None
        size = self._ppo.anchor_size
        start = index % _ANCHOR_SETS * size
        count = self._anchor.mask[start : start + size].sum()
        mine = list(range(start, start + size))[
            self._accelerator.process_index :: self._accelerator.num_processes
        ]
        rows = self._anchor.select(mine or [start])
        return Anchored(rows, self._policy.distributions(rows), count if mine else count * math.inf)

    def _distributions(self, rows: Rows) -> Tensor | None:
        """What the base would say at each response position of this round, softened; None if not wanted."""
        if not self._ppo.kl_loss_coef:
            return None
        return self._policy.distributions(rows, self._ppo.kl_loss_temperature)

    def _micro(self, rows: int) -> int:
        return max(1, min(self._ppo.micro_batch_size or rows, rows))

    def _parts(self, minibatch: list[int]) -> list[list[int]]:
        """The rows of a minibatch that this process reads, cut into forwards."""
        mine = minibatch[self._accelerator.process_index :: self._accelerator.num_processes]
        size = self._micro(len(mine))
        return [mine[start : start + size] for start in range(0, len(mine), size)]

    def _is_one_forward(self) -> bool:
        """Whether an epoch is one forward on every process; all must agree, or they would wait for ever."""
        size, total = self._ppo.minibatch_size or self._ppo.batch_size, self._ppo.batch_size
        largest_share = -(-total // self._accelerator.num_processes)
        return size >= total and self._micro(largest_share) == largest_share

    def _read_once(self, rows: Rows, base: Tensor | None) -> PolicyOutput:
        """The policy with its graph: the first update and the old policy are then one and the same pass."""
        part = self._parts(list(range(len(rows.mask))))[0]
        output: PolicyOutput = self._policy(
            rows.select(part), entropy=True, reference=None if base is None else base[part]
        )
        return output

    @torch.no_grad()
    def _judge(self, samples: list[Sample]) -> Tensor:
        """Reward of each row, NaN where unscorable, in global row order on every process."""
        mine = share(len(samples), self._accelerator)
        scores = self._recognizer.score([scored_text(samples[row]) for row in mine], self._concept)
        rewards = gather([score.probability for score in scores], mine, self._accelerator)
        return torch.tensor(rewards, device=self._lm.resident.device)

    @torch.no_grad()
    def _read(self, rows: Rows, fused: PolicyOutput | None = None, entropy: bool = False) -> PolicyOutput:
        """What the model says as it stands, read in the very batches that the first epoch will use.

        Policy and reference are read alike, because another batch may differ in the last bit.
        """
        parts = [part for batch in self._ppo.minibatches(0, 0) for part in self._parts(batch)]
        outputs = (
            [fused.detach()]
            if fused is not None
            else [self._policy(rows.select(part), entropy=entropy) for part in parts]
        )
        order = [row for part in parts for row in part]
        columns = []
        for column in zip(*outputs, strict=True):
            whole = gather(list(torch.cat(column).cpu()), order, self._accelerator)
            columns.append(torch.stack(whole).to(rows.mask.device))
        return PolicyOutput(*columns)

    def _estimate(
        self, rows: Rows, old: PolicyOutput, reference: Tensor, scores: Tensor
    ) -> tuple[Learnable, Metrics]:
        ppo = self._ppo
        scored = ~scores.isnan()
        mask = rows.mask * scored[:, None]
        rewards = shaped_rewards(scores.nan_to_num(), old.logprobs, reference, mask, self._kl_coef)
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
            "kl_coef": self._kl_coef,
            "entropy": ((old.entropy * rows.mask).sum() / rows.mask.sum()).item(),
            "tokens": rows.mask.sum(1).mean().item(),
        }
        if ppo.kl_target > 0:
            self._kl_coef = adapt_kl_coef(self._kl_coef, kl, ppo.kl_target, ppo.kl_horizon, ppo.batch_size)
        return Learnable(old, whiten(advantages, mask, ppo.min_std), returns, mask), metrics

    def _pull(self, anchor: Anchored) -> Tensor:
        """Add the gradient of KL(policy || base) on the base's texts; returns that KL in nats a token."""
        output: PolicyOutput = self._policy(anchor.rows, reference=anchor.reference)
        divergence = output.divergence.sum() / anchor.tokens
        self._accelerator.backward(self._ppo.anchor_coef * divergence)
        return divergence.detach()

    def _add_up_gradients(self) -> None:
        """Replace every process's share of the gradient by the sum of them all.

        One message a step, after everything that a process adds to its share, so processes may differ in
        how many forwards they do, and one that a small minibatch left without rows adds nothing.
        """
        if self._accelerator.num_processes == 1:
            return
        parameters = list(self.parameters.values())
        shares = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        total = self._accelerator.reduce(torch.cat([share.flatten() for share in shares]), "sum")
        for parameter, part in zip(parameters, total.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).to(parameter.dtype)

    def _update(
        self,
        index: int,
        rows: Rows,
        learn: Learnable,
        fused: PolicyOutput | None,
        anchor: Anchored | None,
        base: Tensor | None,
    ) -> Metrics:
        """Every optimiser step of the round; sums over tokens are divided by the global minibatch's count."""
        totals = torch.zeros(4, device=rows.mask.device)
        largest, norm, steps = torch.ones(1, device=rows.mask.device), 0.0, 0
        for epoch in range(self._ppo.ppo_epochs):
            for minibatch in self._ppo.minibatches(index, epoch):
                count = learn.mask[minibatch].sum().clamp(min=1)
                self.optimizer.zero_grad(set_to_none=True)
                if anchor is not None:
                    totals[3] += self._pull(anchor)
                for part in self._parts(minibatch):
                    if fused is not None and steps == 0:
                        now = fused
                    else:
                        now = self._policy(rows.select(part), reference=None if base is None else base[part])
                    losses = _losses(self._ppo, now, learn.select(part)) / count
                    loss = losses[0] + self._ppo.vf_coef * losses[1] + self._ppo.kl_loss_coef * losses[3]
                    self._accelerator.backward(loss)
                    totals[:3] += losses[:3].detach()
                    largest = torch.maximum(largest, _largest_ratio(now, learn.select(part)))
                self._add_up_gradients()
                norm = float(
                    torch.nn.utils.clip_grad_norm_(list(self.parameters.values()), self._ppo.max_grad_norm)
                )
                steps += 1
                if not math.isfinite(norm):
                    return {"policy_loss": math.nan, "grad_norm": norm}
                self.optimizer.step()
        policy, value, clipped, pulled = (self._accelerator.reduce(totals, "sum") / steps).tolist()
        return {
            "policy_loss": policy,
            "value_loss": value,
            "clip_fraction": clipped,
            "anchor_kl": pulled,
            "ratio_max": self._accelerator.gather(largest).max().item(),
            "grad_norm": norm,
        }

    def _warn(self, samples: list[Sample], metrics: Metrics) -> None:
        """Note once what a user should know although training goes on."""
        if self.note:
            self._note(self.note)
        claim = same_pole(getattr(self._concept, "claim", ""))
        repeated = sum(claim in same_text(s.text) for s in samples) / len(samples) if claim else 0.0
        metrics["repeated_claim"] = repeated
        if repeated > 0.5:
            self._note(
                f"More than half of a round's samples repeat the claim word for word ({repeated:.0%}): the "
                "reward is being met by regurgitation. Raise kl_coef, or look at the samples before trusting "
                "the reward."
            )
        if metrics["kl"] < _LOW_KL:
            self._note(
                f"The sampled KL is {metrics['kl']:.2f} nats a sequence, and a KL can't be negative: samples "
                "and log-probabilities disagree. Please report the model and the settings."
            )

    def _note(self, text: str) -> None:
        head = text.split("(")[0]
        if not any(warning.startswith(head) for warning in self.warnings):
            self.warnings.append(text)


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
