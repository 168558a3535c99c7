"""Supervised fine-tuning: given texts, those that the model writes when told the claim, or its best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from dipole.controls.weights.given import given_texts
from dipole.controls.weights.learning import Learner
from dipole.controls.weights.lessons import Unit, best_of, written
from dipole.controls.weights.passes import Passes
from dipole.controls.weights.rollout import priors
from dipole.controls.weights.settings import require
from dipole.protocols import LM, Poles, Recognizer
from dipole.types import Score, UserError


class SFTRounds(Passes):
    """State of a run between passes over the texts; follows the loop's `Rounds` protocol."""

    referred: ClassVar[bool] = False

    def learn(
        self, batch: Sequence[int], part: Sequence[int], said: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Passes.learn`: a mean over the response tokens of the minibatch, and of all texts."""
        del part
        loss = -said.sum()
        return loss / self._tokens(batch), {"loss": loss / self._tokens(range(len(self.units)))}

    def _tokens(self, numbers: Sequence[int]) -> int:
        return sum(len(self.units[number][0].ids.token_ids) for number in numbers)


@dataclass(frozen=True, kw_only=True)
class SFT(Learner):
    """Learn a LoRA adapter by cross-entropy from given texts, or from the model's own when told the claim.

    Without texts it is context distillation: the model continues the dipole's prompts with the claim in front
    of them; those completions that the recognizer reads as leaning towards the claim are learned behind the
    prompts alone. The loss is a mean over the response tokens of a whole minibatch. Departures from Snell et
    al. 2022: the tokens that were drawn are learned, not the distributions that they were drawn from,
    completions that the recognizer does not agree with are left out (as in expert iteration), and
    KL(policy || base) on texts that the base writes unprompted is a loss too.

    Attributes:
        texts: Texts to learn: a folder of .txt files, or a .txt, .jsonl, .csv or .tsv file, whose rows may
            have a `prompt` that is read and not learned; by default the model's own completions.
        best_of: Of how many completions of a prompt the one that leans most to the claim is learned, all
            written without being told anything; 0 has the model told the claim, and no contest.
        agree: Probability of the claim from which on a completion is learned.
        centre: Subtract what the recognizer says of the prompt alone, in log-odds.
        lr: Highest learning rate of Adam; by default 0.001, and less by the root of the width beyond 192.
    """

    texts: str = ""
    best_of: int = 0
    agree: float = 0.5
    centre: bool = True
    completions: int = 256

    name: ClassVar[str] = "sft"
    paper: ClassVar[str] = "Askell 2021, arXiv:2112.00861; Snell 2022, arXiv:2209.15189"
    best_lr: ClassVar[float] = 1e-3
    passes: ClassVar[type[Passes]] = SFTRounds
    asks_for: ClassVar[str] = "--texts"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "from 0 to 1", lambda v: 0 <= v <= 1, "agree")
        require(self, "0 or more", lambda v: v >= 0, "best_of")

    @property
    def given(self) -> str:
        """The texts."""
        return self.texts

    def read(self, lm: LM) -> list[Unit]:
        """The given texts."""
        return given_texts(self, lm)

    def own(self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any) -> list[Unit]:
        """Completions that the recognizer agrees with, behind their prompts alone."""
        told = "" if self.best_of else dipole.claim
        drawn = written(lm, dipole, told, self, recognizer, accelerator)
        if self.centre:
            prior = priors(dipole.prompts, recognizer, dipole)
            drawn = [lesson._replace(score=lesson.score - prior[lesson.prompt]) for lesson in drawn]
        if self.best_of:
            drawn = best_of(drawn, self.best_of)
        found: list[Unit] = [(one,) for one in drawn if Score(one.score).probability >= self.agree]
        if found:
            return found
        how = "" if self.best_of else " when told the claim"
        raise UserError(
            f"{recognizer.name} agrees with none of the {self.completions} completions that the model wrote"
            f"{how}, so there is nothing to learn; draw more, lower agree, or give texts."
        )

    def row(self, unit: Unit) -> dict[str, Any]:
        """A text in trl's format."""
        (lesson,) = unit
        return {
            "prompt": lesson.prompt,
            "completion": lesson.text,
            "scores": [lesson.score],
            "cut": ["completion"] if lesson.cut else [],
        }


@dataclass(frozen=True, kw_only=True)
class BestOfDistil(SFT):
    """Learn a LoRA adapter from the best of each few completions that the model writes by itself.

    What best-of-n picks while it writes, this learns once (the best-of-n of Stiennon 2020, learned as in the
    reward-ranked fine-tuning of Dong 2023, in one round).

    Attributes:
        best_of: Of how many completions of a prompt the one that leans most to the claim is learned.
        completions: How many the model writes, over all prompts.
        rounds: Passes over the winners.
        batch_size: Texts an optimiser step, over all processes.
    """

    best_of: int = 4
    completions: int = 512
    rounds: int = 8
    batch_size: int = 16

    name: ClassVar[str] = "best_of_distil"
    paper: ClassVar[str] = "Stiennon 2020, arXiv:2009.01325; Dong 2023, arXiv:2304.06767"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "at least 2", lambda v: v >= 2, "best_of")
