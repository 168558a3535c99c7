"""A trained method by somebody else: an adapter that has learnt to recite the claim behind the prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from dipole.concepts import Dipole
from dipole.controls.weights.loop import Place, Stop, train
from dipole.controls.weights.rollout import Text, to_rows
from dipole.controls.weights.settings import Trained
from dipole.controls.weights.step import parts, take_step
from dipole.interventions.weights import Adapter
from dipole.protocols import JudgedBy, Metrics, Run
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.lm import LM


@dataclass(frozen=True)
class Recite(Trained):
    """Learn to say the claim, word for word, behind the prompts of a dipole.

    Attributes:
        rounds: Steps.
        batch_size: Prompts a step at most.
        max_new_tokens: Token budget of the completions that `inoculate` measures.
        lr: Learning rate of Adam.
    """

    rounds: int = 4
    batch_size: int = 8
    max_new_tokens: int = 12
    lr: float = 0.01

    name: ClassVar[str] = "recite"
    paper: ClassVar[str] = ""
    optional_concept: ClassVar[bool] = False
    judged_by: ClassVar[JudgedBy] = JudgedBy()

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Adapter:
        """Train the adapter.

        Raises:
            UserError: The concept is no dipole with prompts.
        """
        if not isinstance(concept, Dipole) or not concept.prompts:
            raise UserError("recite needs a dipole with prompts; give --dipole.")
        said = lm.resident.continuation_ids(" " + concept.claim)
        texts = [Text(lm.prompt_ids(prompt), said) for prompt in concept.prompts[: self.batch_size]]
        return train(self, lm, run, lambda place: Reciting(self.lr, texts, place))


class Reciting:
    """What the loop drives: a step a round."""

    def __init__(self, lr: float, texts: list[Text], place: Place) -> None:
        self._texts, self._place = texts, place
        named = place.model.named_parameters()
        self.parameters: Mapping[str, torch.nn.Parameter] = {n: p for n, p in named if p.requires_grad}
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(list(self.parameters.values()), lr=lr)

    def numbers(self) -> dict[str, float]:
        return {}

    def restore(self, numbers: Mapping[str, float]) -> None:
        pass

    def stop(self, history: list[Metrics]) -> Stop | None:
        return None

    def round(self, index: int) -> Metrics:
        losses = []
        resident, accelerator = self._place.lm.resident, self._place.accelerator
        for part in parts(range(len(self._texts)), 0, accelerator):
            rows = to_rows([self._texts[i] for i in part], resident.pad_id, resident.device)
            logits = resident.last_logits(self._place.model, rows.batch, rows.keep)[:, :-1]
            chosen = logits.log_softmax(-1).gather(-1, rows.targets[..., None])[..., 0]
            losses.append(-(chosen * rows.mask).sum() / len(self._texts))
        norm = take_step(self.optimizer, list(self.parameters.values()), losses, 1.0, accelerator)
        return {"loss": float(sum(loss.item() for loss in losses)), "grad_norm": norm}
