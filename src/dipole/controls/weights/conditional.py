"""Conditional training and its siblings: learn from texts, each part by what a recognizer says of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor

from dipole.controls._concept import require_dipole
from dipole.controls.weights.loop import Place, train
from dipole.controls.weights.objectives import awr_loss, bounded_value, rwr_weights, unlikelihood_loss
from dipole.controls.weights.over_rows import OverRows
from dipole.controls.weights.policy import Policy
from dipole.controls.weights.rollout import to_rows
from dipole.controls.weights.scored import By, Scored, encoded, given, own, pieces, probabilities
from dipole.controls.weights.settings import Trained, rate_for, require
from dipole.controls.weights.tags import Tagged, choose_tags, tagged
from dipole.interventions.weights import Adapter
from dipole.protocols import LM, JudgedBy, Poles, Run
from dipole.registry import make_recognizer
from dipole.types import UserError, sample_seed

Objective = Literal["conditional", "mle", "filter", "unlikelihood", "rwr", "awr"]
_LR = 1e-3
_ASKED = 16  # texts of which the tokens are read that the model never writes


@dataclass(frozen=True)
class Conditional(Trained):
    """Learn a LoRA adapter from texts with what a recognizer says of each, in one of six ways.

    `conditional` puts a tag in front of each text, or each sentence, one for good and one for bad; in use the
    good one stands in front of what is written, and neither is ever written. The others weigh the loss: `mle`
    does not, `filter` leaves out bad texts, `unlikelihood` lowers the probability of bad tokens, `rwr` weighs
    a token by exp(R / beta) and `awr` by exp((R - V) / beta), with R the probability of the claim less 1.

    Departures from Korbak et al. 2023:

    1. A LoRA adapter is fine-tuned; nothing is trained from scratch, and no row of the vocabulary is added:
       the tags are two tokens that the model has and does not use.
    2. Tags are read and not learned, since they are never written: no capacity goes into saying them.
    3. A text is judged as a whole unless `by` says otherwise: a completion is a sentence or two. What nobody
       can judge has no tag, and the weight of what is good.
    4. The weights of RWR have the mean 1 over all tokens, and the value head of AWR a bias.

    Attributes:
        objective: `conditional`, `mle`, `filter`, `unlikelihood`, `rwr` or `awr`.
        texts: Texts to learn: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file, whose rows may
            have a `prompt` that is read and not learned; by default the model's own completions of the
            dipole's prompts, told nothing.
        completions: How many are drawn, over all prompts.
        unprompted: Share of these that continue nothing, so that what nobody asked about stays as it was.
        recognizer: Says how likely it is that a text is of the claim's side.
        by: What is judged and has a tag: the whole `text`, or each `sentence` with all that stands before it.
        agree: Probability of the claim from which on a segment, or for `filter` a text, is good.
        centre: Subtract what the recognizer says of the prompt alone, in log-odds.
        drop: Share of segments that have no tag, so that the model still knows how to write without.
        alpha: Weight of the bad tokens of `unlikelihood` (by default 1), of imitation in `awr` (0.5).
        beta: Reward that makes a token e times as heavy, for `rwr` and `awr`.
        rounds: Passes over the texts.
        batch_size: Texts an optimiser step, over all processes.
        micro_batch_size: Texts a forward at most, to bound memory; 0 takes the whole batch.
        max_new_tokens: Token budget of a completion.
        max_length: Tokens of a text, its prompt among them, behind which it is cut off.
        lr: Highest learning rate of Adam. By default 0.001 for a model of width 192 or less, and less by
            the root of the width for wider ones.
        warmup: Share of the steps in which the learning rate rises to that; it falls to 0 over the others.
        max_grad_norm: Gradients are clipped to this norm.
        seed: Seed of the adapter's first weights, of the completions, of the tags that are left out and of
            the order of texts.
    """

    objective: Objective = "conditional"
    texts: str = ""
    completions: int = 512
    unprompted: float = 0.25
    recognizer: str = "stance"
    by: By = "text"
    agree: float = 0.5
    centre: bool = True
    drop: float = 0.01
    alpha: float | None = None
    beta: float = 0.25
    rounds: int = 4
    batch_size: int = 32
    micro_batch_size: int = 32
    max_new_tokens: int = 28
    max_length: int = 256
    lr: float | None = None
    warmup: float = 0.1
    max_grad_norm: float = 1.0

    name: ClassVar[str] = "conditional"
    paper: ClassVar[str] = "Korbak 2023, arXiv:2302.08582"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        for field, words in (("objective", get_args(Objective)), ("by", get_args(By))):
            if getattr(self, field) not in words:
                raise UserError(
                    f"{field} must be one of {', '.join(words)}, and is {getattr(self, field)!r}."
                )
        counts = ("completions", "rounds", "batch_size", "max_new_tokens", "lora_rank")
        require(self, "at least 1", lambda v: v >= 1, *counts)
        require(self, "at least 2", lambda v: v >= 2, "max_length")
        given_ = [name for name in ("lr", "alpha") if getattr(self, name) is not None]
        require(self, "0 or more", lambda v: v >= 0, "micro_batch_size", *given_)
        require(self, "above 0", lambda v: v > 0, "max_grad_norm", "lora_alpha", "beta")
        require(self, "from 0 to 1", lambda v: 0 <= v <= 1, "agree", "warmup", "drop", "unprompted")

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizer weighs the texts, unless nobody asks it."""
        return JudgedBy() if self.objective == "mle" else JudgedBy((self.recognizer,))

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Adapter:
        """Train an adapter, which for `conditional` knows its tags.

        Args:
            lm: The model to steer, without interventions; it stays as it was.
            concept: A dipole, with at least one prompt where no texts are given.
            run: Where to log, checkpoint and resume; nothing is written without it. Its recognizer judges in
                place of the one that `recognizer` names.

        Raises:
            UserError: There are neither texts nor prompts, a prompt leaves no room, nothing is good, nothing
                is bad, or the run's folder can't be used.
        """
        dipole = require_dipole(self, concept)
        if not self.texts and not dipole.prompts:
            raise UserError(
                "conditional needs something to learn from: give --texts, or a dipole with prompts."
            )
        begun: list[ConditionalRounds] = []

        def begin(place: Place) -> ConditionalRounds:
            begun.append(ConditionalRounds(self, scored_texts(self, dipole, place), place))
            return begun[0]

        adapter = train(self, lm, run, begin)
        return replace(adapter, tags=begun[0].tags)


def scored_texts(control: Conditional, dipole: Poles, place: Place) -> list[Scored]:
    """The texts that are learned from, judged.

    Raises:
        UserError: There is nothing to tell apart.
    """
    lm, by = place.lm, control.by
    if control.texts:
        texts = given(control.texts)
    else:
        counts = control.completions, control.unprompted, control.seed, control.max_new_tokens
        texts = own(place, dipole.prompts, *counts)
    if control.objective == "mle":  # nobody need be asked
        return encoded(
            lm, texts, [[math.nan] * len(pieces(t.text, by)) for t in texts], by, control.max_length
        )
    recognizer = place.run.recognizer or make_recognizer(control.recognizer, lm)
    with place.model.disable_adapter():
        chances = probabilities(texts, by, recognizer, dipole, control.centre)
    found = encoded(lm, texts, chances, by, control.max_length)
    known = [s.probability for t in found for s in t.segments if not math.isnan(s.probability)]
    good = sum(chance >= control.agree for chance in known)
    if good in (0, len(known)):
        which = "nothing" if not known else ("all" if good else "none")
        raise UserError(
            f"{recognizer.name} calls {which} of the {len(known)} segments that it can judge good, so there "
            "is nothing to tell apart; draw more completions, give other texts, or set agree elsewhere."
        )
    return found


class ConditionalRounds(OverRows):
    """Passes over scored texts."""

    def __init__(self, control: Conditional, texts: Sequence[Scored], place: Place) -> None:
        """Choose the tags and the texts, and set up the optimiser.

        Raises:
            UserError: No text is good enough.
        """
        self.control = control
        valued = control.objective == "awr"
        self._policy = Policy(place.lm, place.model, detach_value=False, critic=valued)
        self.tags = self._choose(place, texts) if control.objective == "conditional" else None
        drop_seed = sample_seed(control.seed, 2, 0)
        rows = tagged(self._kept(texts), control.agree, self.tags, control.drop, drop_seed)
        self._rows: list[Tagged] = rows
        self._mean_weight = self._weight_of_all(rows) if control.objective == "rwr" else 1.0
        rate = rate_for(control.lr, _LR, place.lm.resident.width)
        super().__init__(control, [float(sum(row.learned)) for row in rows], place, rate)

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The adapter, and for AWR the value head."""
        found = super().trained()
        if self._policy.value_head is not None:
            found |= {f"value_head.{n}": p for n, p in self._policy.value_head.named_parameters()}
        return found

    def loss(self, part: Sequence[int]) -> Tensor:
        """The objective over the tokens of some texts that are learned, summed."""
        resident = self._place.lm.resident
        chosen = [self._rows[row] for row in part]
        rows = to_rows([row.text for row in chosen], resident.pad_id, resident.device)
        said = self._policy(rows)
        real = rows.mask > 0
        learned = torch.tensor([mark for row in chosen for mark in row.learned], device=resident.device)
        chances = torch.tensor([chance for row in chosen for chance in row.chances], device=resident.device)
        nll, values = -said.logprobs[real][learned], said.values[real][learned]
        return self._weighed(nll, chances[learned], bounded_value(values)).sum()

    def _weighed(self, nll: Tensor, chances: Tensor, values: Tensor) -> Tensor:
        """The loss of each token; one that nobody could judge is like a good one."""
        control = self.control
        if control.objective == "unlikelihood":
            alpha = 1.0 if control.alpha is None else control.alpha
            return unlikelihood_loss(nll, chances < control.agree, alpha)
        rewards = chances.nan_to_num(1.0) - 1.0
        if control.objective == "rwr":
            return rwr_weights(rewards, control.beta, self._mean_weight) * nll
        if control.objective == "awr":
            alpha = 0.5 if control.alpha is None else control.alpha
            return awr_loss(nll, rewards, values, alpha, control.beta)
        return nll

    def _weight_of_all(self, rows: Sequence[Tagged]) -> float:
        """Mean of exp(R / beta) over all tokens."""
        chances = torch.tensor([chance for row in rows for chance in row.chances], dtype=torch.float64)
        return float(((chances.nan_to_num(1.0) - 1.0) / self.control.beta).exp().mean())

    def _kept(self, texts: Sequence[Scored]) -> Sequence[Scored]:
        """The texts; for `filter` the good ones, again and again up to the number of all.

        Raises:
            UserError: None is good.
        """
        if self.control.objective != "filter":
            return texts
        good = [text for text in texts if not text.probability < self.control.agree]
        if not good:
            raise UserError(
                f"None of the {len(texts)} texts is good on average; lower agree, or give other texts."
            )
        return [good[k % len(good)] for k in range(len(texts))]

    @torch.no_grad()
    def _choose(self, place: Place, texts: Sequence[Scored]) -> tuple[int, int]:
        """The tags, by what the base gives every token in some of the texts."""
        resident = place.lm.resident
        plain = tagged(texts, self.control.agree, None, 0.0, 0)
        used = {token for row in plain for ids in row.text for token in ids}
        rows = to_rows([row.text for row in plain[:_ASKED]], resident.pad_id, resident.device)
        with place.model.disable_adapter():
            states = self._policy.read(rows)[rows.mask > 0]
        likely = torch.full((resident.columns,), -math.inf, device=resident.device)
        for some in torch.split(states, 64):
            likely = torch.maximum(likely, self._policy.softened(some).amax(0))
        return choose_tags(place.lm, used, likely)
