"""How far texts lean towards a concept, by any recognizer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dipole.origin import Origin, now, origin
from dipole.protocols import Recognizer
from dipole.recognizers.fitted import is_listed, load_fitted, recognizer_named
from dipole.shown.terminal import one_line
from dipole.types import Score

if TYPE_CHECKING:
    from dipole.protocols import LM


@dataclass(frozen=True)
class Scored:
    """Texts with their scores.

    Attributes:
        texts: As they were given.
        scores: One for each.
        origin: What makes it again.
    """

    texts: tuple[str, ...]
    scores: tuple[Score, ...]
    origin: Origin

    def __str__(self) -> str:
        """A line a text."""
        return "\n".join([HEADER, *self.lines()])

    def lines(self) -> list[str]:
        """A line a text, without the header."""
        return [_line(text, score) for text, score in zip(self.texts, self.scores, strict=True)]

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain data, a table a text."""
        return [
            {"text": text, "log_odds": score.value, "probability": score.probability}
            | ({"reason": score.reason} if score.reason else {})
            for text, score in zip(self.texts, self.scores, strict=True)
        ]


HEADER = "log-odds  probability  text"


def score(
    texts: Sequence[str], concept: Any = None, recognizer: Recognizer | str = "velma", lm: LM | None = None
) -> Scored:
    """Log-odds of each text in nats, positive towards the concept.

    Args:
        texts: What is scored.
        concept: What is wanted; a fitted recognizer has its own.
        recognizer: A recognizer; or the name of one, or a folder with a fitted one, as `topics:3`.
        lm: What a recognizer that is named reads with, if it reads with an LM; the bundled one by default,
            or the one that it was fitted with.

    Raises:
        UserError: There is no such recognizer, or it can't score for the concept.
    """
    started = now()
    made = _made(recognizer, lm) if isinstance(recognizer, str) else recognizer
    found = made.score(list(texts), concept)
    asked = {"recognizer": made.name, "concept": None if concept is None else concept.to_dict()}
    reader: LM | None = getattr(made, "judge", lm)  # what it read with, also where nobody named one
    return Scored(
        tuple(texts),
        tuple(found),
        origin("score", started, None if reader is None else reader.resident, **asked),
    )


def _made(name: str, lm: LM | None) -> Recognizer:
    if lm is not None:
        return recognizer_named(name, lm)
    from dipole.models.load import load

    return recognizer_named(name, load()) if is_listed(name) else load_fitted(name, load)


def _line(text: str, score: Score) -> str:
    value, probability = (
        (f"{score.value:+.3f}", f"{score.probability:.4f}") if score.is_scored else ("n/a", "n/a")
    )
    return f"{value:>8}  {probability:>11}  {one_line(text)}"
