"""The protocols that concepts, recognizers, controls and interventions follow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from dipole.lm import LM
from dipole.types import Score, Surface


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


class Control(Protocol):
    """Fits an intervention for a concept."""

    name: ClassVar[str]

    def fit(self, lm: LM, concept: Any) -> Intervention:
        """Fit to the LM; the LM stays as it was."""
        ...
