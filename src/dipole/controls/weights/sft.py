"""Supervised fine-tuning: learn given texts, or what the model itself writes when told the claim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from dipole.controls._concept import require_dipole
from dipole.controls.weights.loop import Place, Stop, train
from dipole.controls.weights.rollout import Rows, Text, gather, judge, sample_rows, share, to_rows
from dipole.controls.weights.settings import Trained, rate_for, require
from dipole.controls.weights.step import parts, set_rate, shuffled, take_step
from dipole.corpora.corpus import open_corpus
from dipole.interventions.weights import Adapter
from dipole.protocols import LM, JudgedBy, Metrics, Poles, Run
from dipole.reading.told import told_by
from dipole.registry import make_recognizer
from dipole.types import UserError, sample_seed

_LR = 1e-3
_SAMPLED = 64  # completions a forward while the texts are drawn


def token_loss(logits: Tensor, rows: Rows) -> Tensor:
    """Minus the log-likelihood of the response tokens, summed, in nats; prompt and padding count nothing.

    Args:
        logits: `(rows, tokens, vocab)` before each response token.
        rows: Prompts and responses.
    """
    shown = rows.mask.bool()
    return cross_entropy(logits[shown].float(), rows.targets[shown], reduction="sum")


def schedule(step: int, steps: int, warmup: float) -> float:
    """Share of the learning rate: up in a line over the first steps, then down in a line to nearly 0.

    Args:
        step: Number of the step, from 0.
        steps: Steps of the whole run.
        warmup: Share of them in which the rate rises.
    """
    rising = math.ceil(warmup * steps)
    return (step + 1) / rising if step < rising else (steps - step) / (steps - rising)


@dataclass(frozen=True)
class SFT(Trained):
    """Learn a LoRA adapter by cross-entropy from given texts, or from the model's own when told the claim.

    Without texts it is context distillation: the model continues the dipole's prompts with the claim in front
    of them; those completions that the recognizer reads as leaning towards the claim are learned behind the
    prompts alone. The loss is a mean over the response tokens of a whole minibatch. Departures from Snell et
    al. 2022: the tokens that were drawn are learned, not the distributions that they were drawn from, and
    completions that the recognizer does not agree with are left out (as in expert iteration).

    Attributes:
        texts: Texts to learn: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file, whose rows may
            have a `prompt` that is read and not learned; by default the model's own completions.
        completions: How many are drawn, over all prompts.
        agree: Probability of the claim from which on a completion is learned.
        recognizer: Whose probability that is.
        rounds: Passes over the texts.
        batch_size: Texts an optimiser step, over all processes.
        micro_batch_size: Texts a forward at most, to bound memory; 0 takes the whole batch.
        max_new_tokens: Token budget of a completion.
        max_length: Tokens of a given text, its prompt among them, behind which it is cut off.
        lr: Highest learning rate of Adam. By default 0.001 for a model of width 192 or less, and less in
            proportion for wider ones.
        warmup: Share of the steps in which the learning rate rises to that; it falls to 0 over the others.
        max_grad_norm: Gradients are clipped to this norm.
        seed: Seed of the adapter's first weights, of the completions and of the order of texts.
    """

    texts: str = ""
    completions: int = 256
    agree: float = 0.5
    recognizer: str = "velma"
    rounds: int = 4
    batch_size: int = 32
    micro_batch_size: int = 32
    max_new_tokens: int = 28
    max_length: int = 256
    lr: float | None = None
    warmup: float = 0.1
    max_grad_norm: float = 1.0

    name: ClassVar[str] = "sft"
    paper: ClassVar[str] = "Askell 2021, arXiv:2112.00861; Snell 2022, arXiv:2209.15189"
    optional_concept: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        counts = ("completions", "rounds", "batch_size", "max_new_tokens", "lora_rank")
        require(self, "at least 1", lambda v: v >= 1, *counts)
        require(self, "at least 2", lambda v: v >= 2, "max_length")
        rate = () if self.lr is None else ("lr",)
        require(self, "0 or more", lambda v: v >= 0, "micro_batch_size", *rate)
        require(self, "above 0", lambda v: v > 0, "max_grad_norm", "lora_alpha")
        require(self, "from 0 to 1", lambda v: 0 <= v <= 1, "agree", "warmup")

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizer picks the completions; given texts are picked by nobody."""
        return JudgedBy() if self.texts else JudgedBy((self.recognizer,))

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Adapter:
        """Train an adapter that writes like the texts.

        Args:
            lm: The model to steer, without interventions; it stays as it was.
            concept: A dipole with at least one prompt; not needed where texts are given.
            run: Where to log, checkpoint and resume; nothing is written without it. Its recognizer agrees
                or not in place of the one that `recognizer` names.

        Raises:
            UserError: There are neither texts nor prompts, a prompt leaves no room for a completion, the
                recognizer agrees with no completion, or the run's folder can't be used.
        """
        dipole = None if concept is None else require_dipole(self, concept)
        if self.texts:
            texts = given_texts(self, lm)
            return train(self, lm, run, lambda place: SFTRounds(self, texts, place))
        if dipole is None or not dipole.prompts:
            raise UserError(
                "sft needs something to learn from: give --texts, or a dipole with prompts to continue."
            )
        return train(self, lm, run, lambda place: SFTRounds(self, own_texts(self, dipole, place), place))


def given_texts(sft: SFT, lm: LM) -> list[Text]:
    """The texts of the file, each with the end-of-text token behind it unless it was cut.

    Raises:
        UserError: There is no such file, there is nothing in it, or a prompt leaves no room for its text.
    """
    resident, found = lm.resident, []
    most = min(sft.max_length, resident.context_length or sft.max_length)
    end = sorted(resident.eos_ids, key=lambda token: token != resident.tokenizer.eos_token_id)[:1]
    for document in open_corpus(sft.texts):
        prompt = lm.prompt_ids(document.prompt)
        if len(prompt) >= most:
            raise UserError(
                f"The prompt of {document.id} in {sft.texts} has {len(prompt)} tokens, which leaves nothing "
                f"of its text within {most}; shorten it, or raise max_length."
            )
        text = resident.continuation_ids(document.text) if document.prompt else resident.encode(document.text)
        prompt, text = (prompt, text) if document.prompt else (text[:1], text[1:])
        found.append(Text(prompt, [*text, *end][: most - len(prompt)]))
    return [text for text in found if text.token_ids]


def own_texts(sft: SFT, dipole: Poles, place: Place) -> list[Text]:
    """Completions under the claim that the recognizer agrees with, behind their prompts without it.

    Raises:
        UserError: It agrees with none of them, or there is no room for the claim.
    """
    lm, accelerator = place.lm, place.accelerator
    recognizer = place.run.recognizer or make_recognizer(sft.recognizer, lm)
    asked = [dipole.prompts[row % len(dipole.prompts)] for row in range(sft.completions)]
    mine = share(sft.completions, accelerator)
    writer = told_by(lm, dipole.claim)
    with place.model.disable_adapter():
        told = [asked[row] for row in mine]
        drawn = sample_rows(writer, told, mine, 0, sft.seed, sft.max_new_tokens, _SAMPLED)
        samples = gather(drawn, mine, accelerator)
        scores = judge(samples, recognizer, dipole, accelerator)
    found = [
        Text(lm.prompt_ids(sample.prompt), sample.token_ids)
        for sample, score in zip(samples, scores, strict=True)
        if score >= sft.agree
    ]
    if not found:
        raise UserError(
            f"{recognizer.name} agrees with none of the {sft.completions} completions that the model wrote "
            "when told the claim, so there is nothing to learn; draw more, lower agree, or give texts."
        )
    return found


class SFTRounds:
    """State of a run between passes over the texts; follows the loop's `Rounds` protocol."""

    def __init__(self, sft: SFT, texts: Sequence[Text], place: Place) -> None:
        """Set up the optimiser."""
        self._sft, self._texts = sft, texts
        self._lm, self._model, self._accelerator, _ = place
        self.parameters: Mapping[str, torch.nn.Parameter] = {
            name: p for name, p in self._model.named_parameters() if p.requires_grad
        }
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(list(self.parameters.values()))
        self._rate = rate_for(sft.lr, _LR, self._lm.resident.width)

    def numbers(self) -> dict[str, float]:
        """Nothing but tensors and the number of the round makes up the state."""
        return {}

    def restore(self, numbers: Mapping[str, float]) -> None:
        """Nothing to take back."""

    def stop(self, history: list[Metrics]) -> Stop | None:
        """It goes on to the last round."""

    def round(self, index: int) -> Metrics:
        """Pass over the texts once, in an order of its own."""
        sft, total = self._sft, len(self._texts)
        order = shuffled(total, sample_seed(sft.seed, 1, index))
        batches = [order[start : start + sft.batch_size] for start in range(0, total, sft.batch_size)]
        steps, learned = len(batches) * sft.rounds, torch.zeros(1, device=self._lm.resident.device)
        rate = norm = 0.0
        for number, batch in enumerate(batches, index * len(batches)):
            rate = self._rate * schedule(number, steps, sft.warmup)
            set_rate(self.optimizer, rate)
            parameters = list(self.parameters.values())
            losses = self._losses(batch, learned)
            norm = take_step(self.optimizer, parameters, losses, sft.max_grad_norm, self._accelerator)
            if not math.isfinite(norm):
                break
        tokens = sum(len(text.token_ids) for text in self._texts)
        return {
            "loss": self._accelerator.reduce(learned, "sum").item() / tokens,
            "grad_norm": norm,
            "lr": rate,
            "texts": float(total),
            "tokens": float(tokens),
        }

    def _losses(self, batch: Sequence[int], learned: Tensor) -> Iterator[Tensor]:
        """This process's parts of a minibatch's mean loss; their sums are added to `learned`."""
        resident = self._lm.resident
        count = sum(len(self._texts[row].token_ids) for row in batch)
        for part in parts(batch, self._sft.micro_batch_size, self._accelerator):
            rows = to_rows([self._texts[row] for row in part], resident.pad_id, resident.device)
            logits = resident.last_logits(self._model, rows.batch, rows.keep)[:, :-1]
            loss = token_loss(logits, rows)
            learned += loss.detach()
            yield loss / count
