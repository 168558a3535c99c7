"""The protocols that concepts, recognizers, controls and interventions follow, and the record of a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from dipole.lm import LM
from dipole.types import JudgedBy, Score, Surface


@runtime_checkable
class Concept(Protocol):
    """What is wanted, as plain text data."""

    kind: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data that makes the concept again."""
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
