"""Kahneman-Tversky optimisation of a LoRA adapter: texts that are wanted or not, without pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from dipole.controls.weights.given import given_labels
from dipole.controls.weights.learning import Learner
from dipole.controls.weights.lessons import Lesson, Unit, own_pairs
from dipole.controls.weights.loop import Place
from dipole.controls.weights.passes import Passes, Settings
from dipole.controls.weights.preference_maths import balance, kto_loss
from dipole.controls.weights.rollout import Text
from dipole.controls.weights.settings import require
from dipole.protocols import LM, Poles, Recognizer


class KTORounds(Passes):
    """State of a KTO run; follows the loop's `Rounds` protocol.

    Beside each lesson stands a stranger: the prompt of the lesson with the text of another one.
    """

    measures: ClassVar[tuple[str, ...]] = ("preference_loss", "accuracy", "wanted", "unwanted", "point")
    _learner: KTO

    def __init__(
        self, learner: Settings, place: Place, units: Sequence[Unit], reference: Tensor | None = None
    ) -> None:
        """See `Passes`; units that have no strangers yet get them."""
        super().__init__(learner, place, [*map(_met, units, _strangers(units))], reference)
        device = self._lm.resident.device
        self._wanted = torch.tensor([1.0 if unit[0].wanted else -1.0 for unit in self.units], device=device)
        self._count = int((self._wanted > 0).sum())
        self._point = torch.zeros((), device=device)

    @torch.no_grad()
    def before(self, batch: Sequence[int]) -> None:
        """Estimate the KL to the base from the strangers of the minibatch; it is never below 0."""
        total = torch.zeros((), device=self._point.device)
        for part in self.parts(batch, 1):
            total += (self.said(part, [1])[:, 0] - self._based(part, 1)).sum()
        self._point = (self._accelerator.reduce(total, "sum") / len(batch)).clamp(min=0)

    def learn(
        self, batch: Sequence[int], part: Sequence[int], said: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Passes.learn`; `wanted` and `unwanted` are mean log-ratios, nats a text."""
        kto, total, count = self._learner, len(self.units), self._count
        ratio, wanted = said[:, 0] - self._based(part, 0), self._wanted[list(part)]
        up, down = balance(count, total - count) if kto.balanced else (1.0, 1.0)
        weight = torch.where(wanted > 0, up * kto.wanted_weight, down * kto.unwanted_weight)
        loss = (weight * kto_loss(ratio, wanted, self._point, kto.beta)).sum()
        measured = {
            "preference_loss": loss / total,
            "accuracy": (wanted * (ratio - self._point) > 0).float().sum() / total,
            "wanted": ratio[wanted > 0].sum() / count,
            "unwanted": ratio[wanted < 0].sum() / (total - count),
            "point": self._point * len(part) / total,
        }
        return loss / len(batch), measured

    def _based(self, part: Sequence[int], which: int) -> Tensor:
        return self.reference[list(part), which].to(self._point.device)


def _strangers(units: Sequence[Unit]) -> list[Text]:
    """For each lesson's prompt the text of the next one whose prompt is another, or of the next one."""
    ids = [unit[0].ids for unit in units]
    found = []
    for number, own in enumerate(ids):
        others = [*ids[number + 1 :], *ids[:number]]
        text = next((t for t in others if t.prompt_ids != own.prompt_ids), others[0] if others else own)
        found.append(Text(own.prompt_ids, text.token_ids))
    return found


def _met(unit: Unit, stranger: Text) -> Unit:
    return unit if len(unit) > 1 else (*unit, Lesson(stranger, unit[0].wanted))


@dataclass(frozen=True, kw_only=True)
class KTO(Learner):
    """Learn a LoRA adapter from texts that are wanted and texts that are not, which need not be pairs.

    Without a file of texts they are those that `dpo` makes pairs of. A text is worth what its log-likelihood
    over the base's is above that of texts behind prompts that are not theirs, an estimate of the KL.

    Departures from Ethayarajh et al. 2024:

    1. The mismatched texts are the same in every round, so that the base reads each once, as in trl.
    2. The two kinds weigh the same in all, whatever their numbers (`balanced`), before their own weights.
    3. KL(policy || base) on texts that the base writes unprompted is a loss too, as it is in PPO.

    Attributes:
        texts: Texts to learn from: a .jsonl file whose rows have `prompt`, `completion` and `label`, texts or
            messages, or are pairs; by default the model's own completions.
        margin: By how many nats, as the recognizer has it, a wanted completion leans further to the claim
            than the unwanted one that it was picked with.
        beta: Price of leaving the base: the smaller, the further.
        wanted_weight: Weight of the wanted texts.
        unwanted_weight: Weight of the unwanted texts.
        balanced: Give both kinds the same weight in all, first.
        lr: Highest learning rate of Adam; by default 0.0007, and less by the root of the width beyond 192.
    """

    texts: str = ""
    margin: float = 0.5
    beta: float = 0.1
    wanted_weight: float = 1.0
    unwanted_weight: float = 1.0
    balanced: bool = True

    name: ClassVar[str] = "kto"
    paper: ClassVar[str] = "Ethayarajh 2024, arXiv:2402.01306"
    best_lr: ClassVar[float] = 7e-4
    passes: ClassVar[type[Passes]] = KTORounds
    asks_for: ClassVar[str] = "--texts"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "above 0", lambda v: v > 0, "beta")
        require(self, "0 or more", lambda v: v >= 0, "margin", "wanted_weight", "unwanted_weight")

    @property
    def given(self) -> str:
        """The texts."""
        return self.texts

    def read(self, lm: LM) -> list[Unit]:
        """The given texts."""
        return given_labels(self, lm)

    def own(self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any) -> list[Unit]:
        """Texts that the model writes under either side."""
        pairs = own_pairs(self, self.margin, lm, dipole, recognizer, accelerator)
        return [(lesson,) for pair in pairs for lesson in pair]

    def row(self, unit: Unit) -> dict[str, Any]:
        """A text in trl's format."""
        lesson = unit[0]
        return {
            "prompt": lesson.prompt,
            "completion": lesson.text,
            "label": lesson.wanted,
            "scores": [lesson.score],
            "cut": ["completion"] if lesson.cut else [],
        }
