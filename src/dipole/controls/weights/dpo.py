"""Direct preference optimisation of a LoRA adapter: the claim's side is chosen, the other rejected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from torch import Tensor

from dipole.controls.weights.given import given_pairs
from dipole.controls.weights.learning import Learner
from dipole.controls.weights.lessons import Unit, own_pairs
from dipole.controls.weights.passes import Passes
from dipole.controls.weights.preference_maths import dpo_loss, ipo_loss
from dipole.controls.weights.settings import require
from dipole.protocols import LM, Poles, Recognizer
from dipole.types import UserError

_LOSSES = {"sigmoid": dpo_loss, "ipo": ipo_loss}


class DPORounds(Passes):
    """State of a DPO run; follows the loop's `Rounds` protocol."""

    learned: ClassVar[int] = 2
    measures: ClassVar[tuple[str, ...]] = (
        "preference_loss",
        "margin",
        "accuracy",
        "chosen",
        "rejected",
        "sft_loss",
    )
    _learner: Preferring

    def learn(
        self, batch: Sequence[int], part: Sequence[int], said: Tensor
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """See `Passes.learn`; `chosen` and `rejected` are mean log-ratios, nats a text."""
        dpo, total = self._learner, len(self.units)
        ratio = said - self.reference[list(part)].to(said.device)
        margin = ratio[:, 0] - ratio[:, 1]
        loss = _LOSSES[dpo.loss](margin, dpo.beta, dpo.smoothing).sum()
        unlikely = -said[:, 0].sum()
        tokens = sum(len(self.units[number][0].ids.token_ids) for number in batch)
        measured = {
            "preference_loss": loss / total,
            "margin": margin.sum() / total,
            "accuracy": (margin > 0).float().sum() / total,
            "chosen": ratio[:, 0].sum() / total,
            "rejected": ratio[:, 1].sum() / total,
            "sft_loss": unlikely / self._tokens,
        }
        return loss / len(batch) + dpo.sft_coef * unlikely / tokens, measured

    @property
    def _tokens(self) -> int:
        return sum(len(unit[0].ids.token_ids) for unit in self.units)


@dataclass(frozen=True, kw_only=True)
class Preferring(Learner):
    """What controls that learn from pairs let their user set.

    Attributes:
        pairs: Pairs to learn from: a .jsonl file whose rows have `prompt`, `chosen` and `rejected`, texts or
            messages; by default the model's own completions.
        loss: sigmoid (DPO), or ipo, which wants a margin of 1 / (2 beta) and no more.
        beta: Price of leaving the base: the smaller, the further.
        smoothing: Share of the pairs that may be the wrong way round (conservative DPO).
        sft_coef: Weight of the cross-entropy of the chosen texts, in nats a token.
        lr: Highest learning rate of Adam; by default 0.001, and less by the root of the width beyond 192.
        batch_size: Pairs an optimiser step, over all processes.
    """

    pairs: str = ""
    loss: Literal["sigmoid", "ipo"] = "sigmoid"
    beta: float = 0.1
    smoothing: float = 0.0
    sft_coef: float = 0.0

    best_lr: ClassVar[float] = 1e-3
    passes: ClassVar[type[Passes]] = DPORounds
    asks_for: ClassVar[str] = "--pairs"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "above 0", lambda v: v > 0, "beta")
        require(self, "0 or more", lambda v: v >= 0, "sft_coef")
        require(self, "from 0 to below 0.5", lambda v: 0 <= v < 0.5, "smoothing")
        if self.loss not in _LOSSES:
            raise UserError(f"loss must be one of {', '.join(_LOSSES)}, and is {self.loss!r}.")

    @property
    def given(self) -> str:
        """The file of pairs."""
        return self.pairs

    def read(self, lm: LM) -> list[Unit]:
        """The pairs of the file."""
        return given_pairs(self, lm)

    def row(self, unit: Unit) -> dict[str, Any]:
        """A pair in trl's format."""
        chosen, rejected = unit
        return {
            "prompt": chosen.prompt,
            "chosen": chosen.text,
            "rejected": rejected.text,
            "scores": [chosen.score, rejected.score],
            "cut": [name for name, one in (("chosen", chosen), ("rejected", rejected)) if one.cut],
        }


@dataclass(frozen=True, kw_only=True)
class DPO(Preferring):
    """Learn a LoRA adapter from pairs: the chosen text becomes likelier than it was, the rejected one less.

    Without a file of pairs they are made of the dipole: the model continues its prompts told the claim, and
    told the opposite. Of the texts behind one prompt the claim's that leans furthest to it and the other's
    that does least are a pair, and so on, as long as they are a margin apart; the claim's is chosen. The
    policy is the resident model with an adapter, the base the same weights with the adapter off, whose
    log-likelihoods are read once.

    Departures from Rafailov et al. 2023 and from trl:

    1. The base is the model as it was loaded; no fine-tuning on the chosen texts comes first. `sft_coef` is a
       term for them instead (Pang 2024, eq. 2, a mean over the tokens of the minibatch).
    2. KL(policy || base) on texts that the base writes unprompted is a loss too, as it is in PPO.
    3. IPO takes sums over a text, as eq. 17 of Azar 2023 does; trl takes means over its tokens.

    Attributes:
        margin: By how many nats, as the recognizer has it, a chosen completion leans further to the claim.
    """

    margin: float = 0.5

    name: ClassVar[str] = "dpo"
    paper: ClassVar[str] = "Rafailov 2023, arXiv:2305.18290; Azar 2023, arXiv:2310.12036"

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        super().__post_init__()
        require(self, "0 or more", lambda v: v >= 0, "margin")

    def own(self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any) -> list[Unit]:
        """Pairs of what the model writes under either side."""
        return own_pairs(self, self.margin, lm, dipole, recognizer, accelerator)
