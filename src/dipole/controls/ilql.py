"""Implicit language Q-learning: what a text is worth from here on, learned from texts with rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dipole.controls._concept import require_dipole
from dipole.controls._dial import Measured, numbers_of
from dipole.controls.selection import judges_of, select, split_prompts
from dipole.controls.weights.head import Head
from dipole.controls.weights.loop import Place, run_rounds
from dipole.controls.weights.over_rows import OverRows
from dipole.controls.weights.policy import Policy
from dipole.controls.weights.q_maths import (
    awac_weights,
    cql_loss,
    expectile_loss,
    q_loss,
    standardised,
    sync,
    td_targets,
)
from dipole.controls.weights.rollout import Text, to_rows
from dipole.controls.weights.scored import Written, encoded, given, own, probabilities
from dipole.controls.weights.settings import rate_for, require
from dipole.interventions.ilql import Ilql, head_of, mean_length, perceptron, under_head
from dipole.interventions.logits import made_for
from dipole.protocols import JudgedBy, Poles, Run
from dipole.registry import make_recognizer
from dipole.types import Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

_LR = 2e-3
_READ = 32  # texts a forward while their states are read


@dataclass(frozen=True)
class ILQL(Measured):
    """Learn what a text is worth from here on, and write what is worth more.

    Two Q heads and a V head read the state under the model's own language-model head; nothing else is
    trained. They learn from texts with one reward each: rows of a file that have a `reward`, or the model's
    own completions with what a recognizer says of them. The result adds beta (min Q) to the logits, at any
    strength.

    Departures from Snell et al. 2022 (and from trlX):

    1. A Q head gives a vector that is multiplied with the model's own output embedding, where the published
       ones have a row for each token: 2.6 in place of 115 million numbers for a model of 135 million.
    2. The model is frozen. It is the clone of its own completions, so behaviour is cloned only from given
       texts, by one matrix between the state and the language-model head (`awac`).
    3. Of tokens that are not among the likeliest `candidates`, whose values are guesses, the worst value of
       those is assumed; the published code leaves out all but the 20 best sums.
    4. beta is chosen from a grid, by the rule that all controls of logits follow.
    5. Some hundred steps are made and not ten thousand, so a reward at the end of a text must find its
       beginning sooner: Q is drawn to lambda-returns (`lam`), and the target heads follow faster (`sync`).

    Attributes:
        texts: A .jsonl, .csv or .tsv file whose rows have a `text`, a `reward` and perhaps a `prompt`; by
            default the model's own completions of the dipole's prompts, told nothing.
        completions: How many are drawn, over all prompts.
        unprompted: Share of these that continue nothing, so that what nobody asked about stays as it was.
        recognizer: Whose probability of the claim is the reward of a completion.
        centre: Subtract what the recognizer says of the prompt alone, in log-odds.
        gamma: What a reward one token later is worth.
        lam: Share of what a text came to in what Q is drawn to; 0 is one step and then V, as in the paper.
        tau: Expectile of V; towards 1 it is what the best token is worth.
        cql: Weight of the cross-entropy with Q as logits, which keeps the values of tokens that were not
            seen below those that were.
        awac: Weight of cloning; by default 1 for given texts and 0 for the model's own.
        awac_beta: How much better tokens are cloned rather than others; 0 clones all alike.
        sync: Share of the way that the target heads go to the others at each step.
        inner: Units of a head's hidden layer, as a multiple of the model's width.
        candidates: The likeliest next tokens, whose values count.
        mass: Share of the probability that these must have together, so that there are fewer where the model
            is sure; 1 takes all.
        weights: Sizes of beta to try, with commas.
        rounds: Passes over the texts.
        batch_size: Texts an optimiser step.
        micro_batch_size: Texts that are read at once; 0 takes the whole batch.
        max_length: Tokens of a given text, its prompt among them, behind which it is cut off.
        lr: Highest learning rate of Adam. By default 0.002 for a model of width 192 or less, and less by
            the root of the width for wider ones.
        warmup: Share of the steps in which the learning rate rises to that; it falls to 0 over the others.
        max_grad_norm: Gradients are clipped to this norm.
    """

    texts: str = ""
    completions: int = 512
    unprompted: float = 0.25
    recognizer: str = "stance"
    centre: bool = True
    gamma: float = 0.99
    lam: float = 0.9
    tau: float = 0.7
    cql: float = 0.1
    awac: float | None = None
    awac_beta: float = 0.0
    sync: float = 0.1
    inner: int = 2
    candidates: int = 20
    mass: float = 0.98
    weights: str = "1,2,4,8"
    rounds: int = 20
    batch_size: int = 32
    micro_batch_size: int = 32
    max_length: int = 256
    lr: float | None = None
    warmup: float = 0.1
    max_grad_norm: float = 1.0

    name: ClassVar[str] = "ilql"
    surface: ClassVar[Surface] = "logits"
    makes: ClassVar[type[Ilql]] = Ilql
    paper: ClassVar[str] = "Snell 2022, arXiv:2206.11871"
    counts: ClassVar[tuple[str, ...]] = ("completions", "inner", "candidates", "rounds", "batch_size")

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        super().__post_init__()
        numbers_of(self.weights, "weights")
        require(self, "at least 2", lambda v: v >= 2, "max_length")
        some = [name for name in ("lr", "awac") if getattr(self, name) is not None]
        require(self, "0 or more", lambda v: 0 <= v < math.inf, "micro_batch_size", "cql", "awac_beta", *some)
        require(self, "above 0", lambda v: v > 0, "max_grad_norm")
        require(self, "from 0 to 1", lambda v: 0 <= v <= 1, "gamma", "lam", "warmup", "unprompted")
        require(self, "above 0 and below 1", lambda v: 0 < v < 1, "tau")
        require(self, "above 0 and at most 1", lambda v: 0 < v <= 1, "sync", "mass")

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizer gives the rewards unless the texts come with theirs; see `selection` for beta."""
        return JudgedBy(() if self.texts else (self.recognizer,), ("velma",))

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Ilql:
        """Learn the heads, and choose beta on prompts that nothing was learned from.

        Args:
            lm: The model to steer, perhaps with interventions on its weights; it stays as it was.
            concept: A dipole with prompts.
            run: Where to log, checkpoint and resume; nothing is written without it. Its recognizer judges in
                place of the one that `recognizer` names.

        Raises:
            UserError: The dipole has no prompts, a text has no reward, all have the same, or the model has no
                language-model head of its own width.
        """
        dipole, run = require_dipole(self, concept), run or Run()
        prompts, choosing = split_prompts(dipole)
        head_of(lm.resident)
        make = self._learned(lm, dipole, prompts, run)
        grid = numbers_of(self.weights, "weights")
        tried = [({"beta": beta}, beta, replace(make, beta=beta).apply) for beta in grid]
        chosen = select(lm, dipole, tried, choosing, self.n, self.max_new_tokens, seed=self.seed)
        judged = self.judged_by._replace(chosen=judges_of(dipole).chosen)
        if run.recognizer is not None and judged.rewarded:
            judged = judged._replace(rewarded=(run.recognizer.name,))
        facts = {"judged_by": judged._asdict(), "selection": chosen.to_dict()}
        return replace(make, beta=grid[chosen.chosen], facts=facts)

    def _learned(self, lm: LM, dipole: Poles, prompts: Sequence[str], run: Run) -> Ilql:
        from accelerate import Accelerator

        accelerator = Accelerator(cpu=lm.resident.device.type == "cpu")
        with lm.engaged() as model:
            place = Place(lm, _Still(model), accelerator, run)
            task = ILQLRounds(self, rewarded(self, dipole, prompts, place), place)
        run_rounds(task, self.rounds, run, accelerator)
        return task.made(lm)


class _Still:
    """A model without an adapter under training, where the loop's controls have one to switch off."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def disable_adapter(self) -> Any:
        """Nothing is on."""
        return nullcontext()


class Rewarded(NamedTuple):
    """A text and what it is worth.

    Attributes:
        text: Prompt and response.
        reward: With mean 0 and standard deviation 1 over all texts.
    """

    text: Text
    reward: float


def rewarded(control: ILQL, dipole: Poles, prompts: Sequence[str], place: Place) -> list[Rewarded]:
    """The texts that are learned from.

    Raises:
        UserError: A text has no reward, or all have the same.
    """
    if control.texts:
        written = given(control.texts)
        rewards = [_given_reward(text, control.texts) for text in written]
    else:
        counts = control.completions, control.unprompted, control.seed, control.max_new_tokens
        written = own(place, prompts, *counts)
        recognizer = place.run.recognizer or make_recognizer(control.recognizer, place.lm)
        found = probabilities(written, "text", recognizer, dipole, control.centre)
        known = [k for k, (chance,) in enumerate(found) if not math.isnan(chance)]
        written, rewards = [written[k] for k in known], [found[k][0] for k in known]
    if len(set(rewards)) < 2:
        raise UserError(
            f"ilql learns which of several texts are worth more, and all {len(rewards)} texts that have a "
            "reward have the same; give texts that differ, draw more, or take another recognizer."
        )
    texts = encoded(place.lm, written, [[0.0]] * len(written), "text", control.max_length)
    values = standardised(torch.tensor(rewards, dtype=torch.float64)).tolist()
    rows = [Text(text.prompt_ids, text.segments[0].token_ids) for text in texts]
    return [Rewarded(row, value) for row, value in zip(rows, values, strict=True)]


def _given_reward(text: Written, path: str) -> float:
    if text.reward is None or not math.isfinite(text.reward):
        had = "no reward" if text.reward is None else f"the reward {text.reward}"
        raise UserError(
            f"ilql needs a finite `reward` in every row, and {text.id} of {path} has {had}; give it one, or "
            "leave the row out."
        )
    return text.reward


class _Tied(nn.Module):
    """The language-model head's rows over their mean length, as the `Head` of Q."""

    def __init__(self, table: Tensor, scale: float) -> None:
        super().__init__()
        self.weight, self._scale = nn.Parameter(table, requires_grad=False), scale

    def forward(self, found: Tensor) -> Tensor:
        return nn.functional.linear(found.to(self.weight.dtype), self.weight) / self._scale


class ILQLRounds(OverRows):
    """Passes over rewarded texts, whose states were read once."""

    def __init__(self, control: ILQL, texts: Sequence[Rewarded], place: Place) -> None:
        """Read the states and set up heads and optimiser."""
        self.control, self._texts, resident = control, texts, place.lm.resident
        with torch.no_grad():
            self._policy = Policy(place.lm, place.model.model, critic=False)
            self._states = self._read(place, texts)
        table = head_of(resident).weight.detach()
        self._scale = mean_length(table)
        self._table = table
        self._head = Head(_Tied(table, self._scale), lambda logits: logits)
        self._made = self._heads(resident.width, resident.device)
        rate = rate_for(control.lr, _LR, resident.width)
        super().__init__(control, [float(len(t.text.token_ids)) for t in texts], place, rate, self._sync)

    def _heads(self, width: int, device: torch.device) -> dict[str, nn.Parameter]:
        """Q heads, their targets and V, each of two layers, and the cloned policy; second layers are 0."""
        draw = torch.Generator().manual_seed(self.control.seed)
        inner, made = self.control.inner * width, {}
        for name, outputs in (("q0", width + 1), ("q1", width + 1), ("v", 1)):
            into = torch.randn(inner, width + 1, generator=draw) / math.sqrt(width)
            into[:, -1] = 0.0
            made[f"{name}.into"], made[f"{name}.out"] = into, torch.zeros(outputs, inner + 1)
        for k in (0, 1):
            made |= {f"target{k}.{part}": made[f"q{k}.{part}"].clone() for part in ("into", "out")}
        made["policy"] = torch.zeros(width, width)
        frozen = ("target0", "target1") if self._cloning else ("target0", "target1", "policy")
        return {n: nn.Parameter(t.to(device), not n.startswith(frozen)) for n, t in made.items()}

    @property
    def _cloning(self) -> float:
        """Weight of cloning."""
        control = self.control
        return control.awac if control.awac is not None else (1.0 if control.texts else 0.0)

    def trained(self) -> dict[str, nn.Parameter]:
        """The heads; the targets among them, which no gradient reaches."""
        return self._made

    @property
    def _counted(self) -> tuple[int, float]:
        return self.control.candidates, self.control.mass

    def made(self, lm: LM) -> Ilql:
        """The intervention, of size 1."""
        heads = self._made
        into, out = (torch.stack([heads[f"target{k}.{p}"].detach() for k in (0, 1)]) for p in ("into", "out"))
        policy = heads["policy"].detach()
        return Ilql(into.cpu(), out.cpu(), policy.cpu(), 1.0, *self._counted, **made_for(lm))

    def _sync(self) -> None:
        for k in (0, 1):
            for part in ("into", "out"):
                sync(self._made[f"target{k}.{part}"], self._made[f"q{k}.{part}"], self.control.sync)

    def _read(self, place: Place, texts: Sequence[Rewarded]) -> list[Tensor]:
        """The states that predict each token of each text, `(tokens, width)`."""
        found, resident = [], place.lm.resident
        for start in range(0, len(texts), _READ):
            some = [t.text for t in texts[start : start + _READ]]
            rows = to_rows(some, resident.pad_id, resident.device)
            states = self._policy.read(rows)
            found += [row[len(row) - len(t.token_ids) :].clone() for row, t in zip(states, some, strict=True)]
        return found

    def loss(self, part: Sequence[int]) -> Tensor:
        """L_Q + L_V + cql L_CQL + awac L_AWAC over the tokens of some texts, summed."""
        control, heads = self.control, self._made
        hidden = torch.cat([self._states[row] for row in part])
        actions = torch.cat([torch.tensor(self._texts[row].text.token_ids) for row in part])
        actions = actions.to(hidden.device)
        rewards, live = self._ends(part, hidden.device)
        x = under_head(hidden)

        def head(name: str) -> Tensor:
            return perceptron(x, heads[f"{name}.into"], heads[f"{name}.out"])

        found = [head("q0"), head("q1")]
        q = torch.stack([self._values(f, actions) for f in found])
        with torch.no_grad():
            targets = torch.stack([self._values(head(f"target{k}"), actions) for k in (0, 1)])
            best = targets.amin(0)
        values = head("v").squeeze(-1)
        wanted = td_targets(rewards, values.roll(-1), live, control.gamma, control.lam)
        loss = q_loss(q, wanted) + expectile_loss(values, best, control.tau)
        if control.cql:
            logprobs = torch.stack([self._head.read(f[:, :-1], actions).logprobs for f in found])
            loss = loss + control.cql * cql_loss(logprobs)
        if self._cloning:
            weights = awac_weights(best, values, control.awac_beta)
            loss = loss + self._cloning * weights * self._cloned(part, hidden, x)
        return loss.sum()

    def _values(self, found: Tensor, actions: Tensor) -> Tensor:
        """Q of one action a state."""
        own: Tensor = (self._table[actions].float() * found[:, :-1]).sum(-1)
        return own / self._scale + found[:, -1]

    def _ends(self, part: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Rewards, each on the last token of its text, and 1 on all tokens but that."""
        lengths = torch.tensor([len(self._texts[row].text.token_ids) for row in part])
        last = lengths.cumsum(0) - 1
        rewards, live = torch.zeros(int(lengths.sum())), torch.ones(int(lengths.sum()))
        rewards[last] = torch.tensor([self._texts[row].reward for row in part])
        live[last] = 0.0
        return rewards.to(device), live.to(device)

    def _cloned(self, part: Sequence[int], hidden: Tensor, x: Tensor) -> Tensor:
        """Minus the log-probability of each token under the cloned policy."""
        resident = self._place.lm.resident
        rows = to_rows([self._texts[row].text for row in part], resident.pad_id, resident.device)
        moved = hidden + (nn.functional.linear(x, self._made["policy"]) / self._scale).to(hidden.dtype)
        real = rows.mask > 0
        placed = moved.new_zeros(*rows.mask.shape, moved.shape[-1])
        placed[real] = moved
        return -self._policy.said(rows, placed).logprobs[real]
