"""What controls that pass over texts let their user set, and how they are fitted."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from dipole.controls._concept import require_dipole
from dipole.controls.weights.kept import keep, kept
from dipole.controls.weights.lessons import Unit
from dipole.controls.weights.loop import Place, train
from dipole.controls.weights.passes import Passes
from dipole.controls.weights.settings import Trained, require
from dipole.interventions.weights import Adapter
from dipole.protocols import LM, JudgedBy, Poles, Recognizer, Run
from dipole.registry import make_recognizer
from dipole.types import UserError


@dataclass(frozen=True, kw_only=True)
class Learner(Trained):
    """A control that passes over texts, given ones or those that the model writes for the dipole's prompts.

    Attributes:
        completions: How many the model writes, of each side where it writes for two, over all prompts.
        recognizer: Who says how far a completion leans.
        rounds: Passes over the texts.
        batch_size: Texts (or pairs) an optimiser step, over all processes.
        micro_batch_size: Texts a forward at most, to bound memory; 0 takes as many as should fit
            in 384 MiB on a CPU, in 1 GiB elsewhere.
        max_new_tokens: Token budget of a completion.
        max_length: Tokens of a given text, its prompt among them, behind which it is cut off.
        warmup: Share of the steps in which the learning rate rises to that; it falls to 0 over the others.
        max_grad_norm: Gradients are clipped to this norm.
        anchor_coef: Weight of KL(policy || base), in nats a token, on texts that the base writes unprompted;
            it keeps what nobody asked to move in its place. 0 leaves it out.
        anchor_size: Such texts an optimiser step.
    """

    completions: int = 128
    recognizer: str = "stance"
    rounds: int = 4
    batch_size: int = 32
    micro_batch_size: int = 0
    max_new_tokens: int = 28
    max_length: int = 256
    lr: float | None = None
    warmup: float = 0.1
    max_grad_norm: float = 1.0
    anchor_coef: float = 10.0
    anchor_size: int = 16

    optional_concept: ClassVar[bool] = True
    best_lr: ClassVar[float]
    passes: ClassVar[type[Passes]]
    asks_for: ClassVar[str]

    def __post_init__(self) -> None:
        """Refuse hyper-parameters that mean nothing."""
        counts = ("completions", "rounds", "batch_size", "max_new_tokens", "lora_rank", "anchor_size")
        require(self, "at least 1", lambda v: v >= 1, *counts)
        require(self, "at least 2", lambda v: v >= 2, "max_length")
        rate = () if self.lr is None else ("lr",)
        require(self, "0 or more", lambda v: v >= 0, "micro_batch_size", "anchor_coef", *rate)
        require(self, "above 0", lambda v: v > 0, "max_grad_norm", "lora_alpha")
        require(self, "from 0 to 1", lambda v: 0 <= v <= 1, "warmup")

    @property
    @abstractmethod
    def given(self) -> str:
        """The file of the texts; empty where the model writes them."""

    @property
    def judged_by(self) -> JudgedBy:
        """The recognizer picks the completions; given texts are picked by nobody."""
        return JudgedBy() if self.given else JudgedBy((self.recognizer,))

    @abstractmethod
    def own(self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any) -> list[Unit]:
        """What is learned of a dipole.

        Args:
            lm: The LM as it stands, without the adapter.
            dipole: With prompts.
            recognizer: Says how far completions lean.
            accelerator: By which processes share the work.

        Raises:
            UserError: The recognizer agrees with too little, or there is no room for a side.
        """

    def derived(
        self, lm: LM, dipole: Poles, recognizer: Recognizer, accelerator: Any
    ) -> tuple[list[Unit], list[dict[str, Any]]]:
        """What `own` gives, and what was left out: rows with the `reason` of each."""
        return self.own(lm, dipole, recognizer, accelerator), []

    @abstractmethod
    def read(self, lm: LM) -> list[Unit]:
        """What is learned of the given file.

        Raises:
            UserError: There is nothing in it to learn from.
        """

    @abstractmethod
    def row(self, unit: Unit) -> dict[str, Any]:
        """What is learned as a row of a file, which `read` takes."""

    def fit(self, lm: LM, concept: Any = None, run: Run | None = None) -> Adapter:
        """Train an adapter.

        Args:
            lm: The model to steer, without interventions; it stays as it was.
            concept: A dipole with at least one prompt; not needed where texts are given.
            run: Where to log, checkpoint and resume; nothing is written without it. Its recognizer agrees
                or not in place of the one that `recognizer` names.

        Raises:
            UserError: There are neither texts nor prompts, a prompt leaves no room for a completion, the
                recognizer agrees with too few completions, or the run's folder can't be used.
        """
        dipole = None if concept is None else require_dipole(self, concept)
        units: list[Unit] = []
        if self.given:
            units = self.read(lm)
        else:
            dipole = self.require_prompts(dipole)
        return train(self, lm, run, lambda place: self.begin(place, dipole, units))

    def begin(self, place: Place, dipole: Poles | None, units: list[Unit]) -> Passes:
        """What does the rounds; a run that is continued learns from what it has kept.

        Args:
            place: Where it trains.
            dipole: What is wanted, where no texts are given.
            units: The given texts.
        """
        before = kept(place.run, place.lm.resident.columns)
        if before is not None:
            return self.passes(self, place, before.units, before.reference)
        if dipole is not None and not units:
            with place.model.disable_adapter():
                units = self.own(place.lm, dipole, self.judge(place.lm, place.run), place.accelerator)
        made = self.passes(self, place, units)
        keep(place.run, made.units, made.reference, place.accelerator)
        return made

    def judge(self, lm: LM, run: Run | None = None) -> Recognizer:
        """Who says how far completions lean: the run's recognizer, where it has one."""
        found: Recognizer = (run and run.recognizer) or make_recognizer(self.recognizer, lm)
        return found

    def require_prompts(self, dipole: Poles | None) -> Poles:
        """The dipole, where it has something to continue.

        Raises:
            UserError: There is none, or it has no prompts.
        """
        if dipole is None or not dipole.prompts:
            raise UserError(
                f"{self.name} needs something to learn from: give {self.asks_for}, or a dipole with prompts "
                "to continue."
            )
        return dipole
