"""What every control that learns from a reward of its own completions lets its user set, and refuses."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.controls.weights.loop import Place, Rounds, train
from dipole.controls.weights.reward import is_function, load_function, needs_concept, try_function
from dipole.controls.weights.settings import Trained, rate_for, require
from dipole.controls.weights.step import shuffled
from dipole.corpora.prompts import read_prompts
from dipole.interventions.weights import Adapter
from dipole.protocols import LM, JudgedBy, Poles, Run
from dipole.types import UserError

_LR = 4e-3
_KL_LOSS = 0.3


@dataclass(frozen=True)
class OnPolicy(Trained):
    """A control that samples, has the samples judged, and makes the better ones likelier; round by round.

    Attributes:
        rounds: Rounds of sampling and updating.
        batch_size: Samples a round, over all processes.
        minibatch_size: Samples an optimiser step; 0 takes the whole batch.
        micro_batch_size: Samples a forward at most, to bound memory; 0 takes as many as should fit
            in 384 MiB on a CPU, in 1 GiB elsewhere.
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
            about keeps its distribution. By default 0.3 for a model of width 192 or less, and less in
            proportion down to 0.1 from width 576 on. 0 leaves it out.
        kl_loss_temperature: That KL is to the base at this temperature, or less where `entropy_bonus` says
            so. Above 1 it is an entropy bonus too (Schulman 2017, eq. 9), which makes up for the wordings
            that are lost with the other side.
        entropy_bonus: Nats a token that the temperature may add to the base's entropy; it is lowered until it
            adds no more.
        anchor_coef: Weight of KL(policy || base), in nats a token, on texts that the base writes unprompted;
            it keeps what nobody asked to move in its place. 0 leaves it out.
        anchor_size: Such texts a round.
        min_std: Advantages are divided by their standard deviation, but by no less than this share of that of
            the first round's rewards: once every text has nearly the same reward, the small differences left
            are not blown up to full size.
        clip: Clipping range of the ratio: how much less (or more) likely one round may make a text. The usual
            0.2 corrects rare texts on the wrong side too slowly.
        stop_reward: Stop once the mean reward has been at least this for three rounds; 0 never stops early.
        reward: Recognizer whose probability is the reward, or the folder of a fitted one; or
            `module:function`, a Python function that takes a list of completions (and their `prompts`, if it
            has a parameter of that name) and gives a number for each, which is the reward. A completion for
            which it raises, or gives NaN, is left out.
        data: Prompts to complete in place of the concept's: a .jsonl, .csv or .tsv file with a `prompt` in
            each row, or a .txt file with one a line.
        centre: Subtract what the recognizer says of the prompt alone, in log-odds.
        seed: Seed of the adapter's first weights, of the samples and of the order of minibatches.
    """

    rounds: int = 24
    batch_size: int = 64
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
    kl_loss_coef: float | None = None
    kl_loss_temperature: float = 1.8
    entropy_bonus: float = 0.75
    anchor_coef: float = 10.0
    anchor_size: int = 32
    min_std: float = 0.25
    clip: float = 0.8
    stop_reward: float = 0.0
    reward: str = "stance"
    data: str = ""
    centre: bool = True

    optional_concept: ClassVar[bool] = True

    @property
    def group_size(self) -> int:
        """Samples of one prompt that stand together in a batch; a field where they are compared."""
        return 1

    @property
    @abstractmethod
    def epochs(self) -> int:
        """Passes over the samples of a round."""

    @abstractmethod
    def begin(self, concept: Poles | None, place: Place, prompts: Sequence[str]) -> Rounds:
        """What does the rounds.

        Args:
            concept: What is wanted; None where a function says so.
            place: Where it trains.
            prompts: To complete.
        """

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        counts = ("rounds", "batch_size", "max_new_tokens", "lora_rank", "anchor_size")
        require(self, "at least 1", lambda v: v >= 1, *counts)
        by_width = (name for name in ("lr", "kl_loss_coef") if getattr(self, name) is not None)
        sizes = ("minibatch_size", "micro_batch_size")
        weights = ("kl_coef", "kl_target", "stop_reward", "anchor_coef", "min_std")
        require(self, "0 or more", lambda v: v >= 0, *by_width, *sizes, *weights, "entropy_bonus")
        ranges = ("kl_loss_temperature", "max_grad_norm", "kl_horizon", "max_kl", "clip")
        require(self, "above 0", lambda v: v > 0, *ranges, "lora_alpha")
        require(self, "above 1", lambda v: v > 1, "max_perplexity")

    @property
    def judged_by(self) -> JudgedBy:
        """The reward, if it is a recognizer."""
        return JudgedBy() if is_function(self.reward) else JudgedBy((self.reward,))

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Adapter:
        """Train an adapter whose completions have a higher reward, such as leaning towards the concept.

        Args:
            lm: The model to steer, without interventions; it stays as it was.
            concept: A dipole, of which only the `prompts` are trained on; not needed where the reward is a
                function or a fitted recognizer, and `data` has prompts.
            run: Where to log, checkpoint and resume; nothing is written without it. Its recognizer is the
                reward in place of the one that `reward` names; its probability is used.

        Raises:
            UserError: There are no prompts, one leaves no room for the completion, the reward is a function
                that gives no rewards, the LM already carries interventions, or the run's folder can't be
                used. Training that had to stop early returns what it has, and says why in `run.stopped`.
        """
        judged = run is not None and run.recognizer is not None
        called = is_function(self.reward) and not judged
        alone = concept is None and not judged and not needs_concept(self.reward)
        dipole = None if alone else require_dipole(self, concept)
        prompts = self._prompts(dipole)
        for prompt in prompts:
            lm.require_room(prompt, self.max_new_tokens)
        if called:
            try_function(load_function(self.reward), lm, prompts, self.max_new_tokens, self.seed)
        return train(self, lm, run, lambda place: self.begin(dipole, place, prompts))

    def _prompts(self, dipole: Poles | None) -> tuple[str, ...]:
        """Those of the file, or of the dipole.

        Raises:
            UserError: There are none, or one is kept for measuring.
        """
        prompts = read_prompts(self.data) if self.data else () if dipole is None else tuple(dipole.prompts)
        if not prompts:
            raise UserError(
                f"{self.name} needs at least one prompt to complete, one that forces the topic, such as "
                '--prompt "If I were to choose between paper clips and staples, I\'d definitely go with"; or '
                "--data with a file of prompts."
            )
        kept = set(getattr(dipole, "held_out", ()))
        if self.data and (both := next((prompt for prompt in prompts if prompt in kept), None)):
            raise UserError(
                f"The prompt {both!r} in {self.data} is held out by the dipole, to be measured on and never "
                "trained on; take it out of one of the two."
            )
        return prompts

    def learning_rate(self, width: int) -> float:
        """Learning rate of the first round, for a residual stream of this width."""
        return rate_for(self.lr, _LR, width)

    def kl_loss(self, width: int) -> float:
        """Weight of the exact KL to the base, for a residual stream of this width.

        A wide model's rewards are noisier than those of a small world, and against their weak pull 0.3 holds
        it where it is; at width 192 less than that lets the variety of the texts go. The two ends were
        measured (docs/decisions.md); nothing wider was.
        """
        if self.kl_loss_coef is not None:
            return self.kl_loss_coef
        return _KL_LOSS * min(1.0, max(1 / 3, 192 / width))

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
