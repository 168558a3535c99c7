"""The protocols that concepts, recognizers, controls and interventions follow, and the record of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from dipole.decoding.distribution import Decoding
from dipole.resident import Resident
from dipole.types import Sample, Score, Surface


class Applied(Protocol):
    """An intervention as an LM has it, at a strength; 0 is the base, 1 is as fitted."""

    @property
    def intervention(self) -> Any:
        """What is applied."""
        ...

    @property
    def strength(self) -> float:
        """How much of it."""
        ...


class LM(Protocol):
    """A language model as a value: nothing that is done with it changes it. `dipole.lm` has the one there is.

    Attributes:
        resident: The one model in memory, shared by every `LM` derived from it.
        applied: Interventions in the order in which they were applied.
        base: The same model without interventions.
        choosers: Interventions that keep one of several continuations.
    """

    @property
    def resident(self) -> Resident: ...  # noqa: D102
    @property
    def applied(self) -> Sequence[Applied]: ...  # noqa: D102
    @property
    def base(self) -> LM: ...  # noqa: D102
    @property
    def choosers(self) -> Sequence[Any]: ...  # noqa: D102

    def with_intervention(self, intervention: Any, strength: float) -> LM:
        """This LM with one more intervention; called by `Intervention.apply`, which checks that it fits."""
        ...

    def engaged(self, whole: bool = True) -> AbstractContextManager[Any]:
        """The Hugging Face model with the interventions in place for the length of a `with` block."""
        ...

    def prompt_ids(self, prompt: str, told: str = "") -> list[int]:
        """Token ids that the model reads for a prompt, with what prompt interventions put around it.

        Args:
            prompt: The user's text; a turn of the user where the model reads a chat.
            told: One more directive, which stands behind those of the interventions.
        """
        ...

    def generate(
        self,
        prompts: str | Sequence[str],
        n: int = 1,
        max_new_tokens: int = 32,
        seed: int = 0,
        decoding: Decoding = Decoding(),
        batch_size: int = 64,
        first: int = 0,
    ) -> list[Sample]:
        """Sample continuations; the samples of one prompt stand together."""
        ...

    def sample(
        self,
        prompts: Sequence[str],
        seeds: Sequence[int],
        max_new_tokens: int = 32,
        decoding: Decoding = Decoding(),
        batch_size: int = 64,
    ) -> list[Sample]:
        """One continuation of each prompt from the seed beside it."""
        ...

    def response_logits(
        self, prompts: Sequence[str], responses: Sequence[Sequence[int]], batch_size: int = 64
    ) -> list[Tensor]:
        """Logits that predict each token of given responses, `(len(response), vocab)` a row."""
        ...

    def logprobs(
        self,
        prefixes: Sequence[Sequence[int]],
        continuations: Sequence[Sequence[int]],
        batch_size: int = 32,
    ) -> list[Tensor]:
        """Log-probability in nats of each continuation token given its prefix, on the CPU."""
        ...

    def activations(self, texts: Sequence[str], layers: Sequence[int], batch_size: int = 32) -> list[Tensor]:
        """Residual stream after decoder blocks, `(len(layers), tokens, width)` a text, on the CPU."""
        ...

    def token_activations(
        self, encoded: Sequence[Sequence[int]], layers: Sequence[int], batch_size: int = 32
    ) -> list[Tensor]:
        """The same for texts that are token ids already."""
        ...

    def require_room(self, prompt: str, max_new_tokens: int) -> None:
        """Raise a `UserError` unless a prompt leaves room in the context."""
        ...

    def require_short(self, text: str) -> None:
        """Raise a `UserError` for a text that can't fit by its mere length."""
        ...


@runtime_checkable
class Concept(Protocol):
    """What is wanted, as plain text data."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that makes the concept again."""
        ...


@runtime_checkable
class Poles(Concept, Protocol):
    """A statement and its opposite, as controls know them; see `dipole.concepts.Dipole`."""

    @property
    def claim(self) -> str:
        """The statement that is wanted."""
        ...

    @property
    def against(self) -> str:
        """Its opposite."""
        ...

    @property
    def prompts(self) -> tuple[str, ...]:
        """To fit on."""
        ...

    @property
    def mentions(self) -> Any:
        """Words of either side: `claim` and `against`."""
        ...

    @property
    def label(self) -> str:
        """How messages call it."""
        ...

    def swapped(self) -> Poles:
        """The opposite wanted, and the statement not."""
        ...


@runtime_checkable
class Recognizer(Protocol):
    """Scores text for a concept."""

    name: ClassVar[str]

    def score(self, texts: Sequence[str], concept: Any) -> list[Score]:
        """Log-odds in nats of each text, positive towards the concept."""
        ...


@runtime_checkable
class Intervention(Protocol):
    """The fitted artefact of a control, on one surface of an LM."""

    surface: ClassVar[Surface]
    kind: ClassVar[str]
    graded: ClassVar[bool]

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM with this intervention engaged; `lm` stays as it was."""
        ...

    def save(self, folder: Path) -> None:
        """Write the intervention as safetensors and JSON."""
        ...


class JudgedBy(NamedTuple):
    """The recognizers, by name, that had a say in how a control was fitted.

    Attributes:
        rewarded: Whose score it was made to raise; what they say of it is in-loop.
        chosen: Whose score chose a strength or setting, which flatters it a little.
    """

    rewarded: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()


Metrics = dict[str, float]


@dataclass
class Run:
    """Where a training run is kept, and how it went; a control that trains nothing leaves it alone.

    Attributes:
        folder: Folder for the checkpoint and the logs; None keeps the run in memory only.
        resume: Continue from the folder's checkpoint where there is one.
        checkpoint_every: Rounds between checkpoints.
        identity: What must be equal for a checkpoint to be continued: control, concept, model.
        recognizer: Judges in place of the one that the control names, such as one that reads with another LM.
        on_round: Called on the main process after each round with its index, the total and its metrics.
        history: Metrics of each round, filled by the loop.
        stopped: Why it ended before its last round; None if it did not.
        interrupted: Whether the user interrupted it.
        seconds: Training time, over all sessions of a resumed run.
        warnings: Plain sentences about what was seen while training.
    """

    folder: Path | None = None
    resume: bool = False
    checkpoint_every: int = 1
    identity: Mapping[str, Any] = field(default_factory=dict)
    recognizer: Recognizer | None = None
    on_round: Callable[[int, int, Metrics], None] | None = None
    history: list[Metrics] = field(default_factory=list)
    stopped: str | None = None
    interrupted: bool = False
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Note what a user should know although training goes on; once, whatever its numbers are."""
        head = text.split("(")[0]
        if not any(warning.startswith(head) for warning in self.warnings):
            self.warnings.append(text)


class Control(Protocol):
    """Fits an intervention for a concept; a frozen dataclass, whose fields are its settings.

    Attributes:
        name: As in the registry.
        takes: Kinds of concept that it can be fitted to.
        optional_concept: Whether it can do without one.
        surface: Where what it makes acts on an LM.
        makes: The class of that.
        graded: Whether that has strengths between off and on, and beyond.
        paper: Short citation; may be empty.
        judged_by: Recognizers that have a say in how it is fitted, with these settings.
    """

    name: ClassVar[str]
    takes: ClassVar[tuple[str, ...]]
    optional_concept: ClassVar[bool]
    surface: ClassVar[Surface]
    makes: ClassVar[type[Any]]
    graded: ClassVar[bool]
    paper: ClassVar[str]

    @property
    def judged_by(self) -> JudgedBy: ...  # noqa: D102 - see above

    def fit(self, lm: LM, concept: Any, run: Run | None = None) -> Intervention:
        """Fit to the LM, which stays as it was.

        Args:
            lm: The LM.
            concept: What is wanted; None where it is optional and left out.
            run: Where training is logged, checkpointed and resumed; nothing is written without it.

        Raises:
            UserError: The concept is of a kind that it does not take, or can't be used with this LM.
        """
        ...
