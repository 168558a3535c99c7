"""Which side a text names more often: a meter without any model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from dipole.concepts.mentions import spans
from dipole.recognizers._statements import texts_of
from dipole.types import Score, UserError

if TYPE_CHECKING:
    from dipole.concepts.dipole import Dipole


def count_log_odds(claim: int, against: int) -> float:
    """Log-odds in nats that a mention is of the claim's side; half a count on each side (Jeffreys)."""
    return math.log((claim + 0.5) / (against + 0.5))


def counts(text: str, dipole: Dipole) -> tuple[int, int]:
    """How often each side is mentioned: claim, against.

    What counts as a mention, and which of two that overlap, is said at `spans`.
    """
    found = [span.side for span in spans(text, (dipole.mentions.claim, dipole.mentions.against))]
    return found.count(0), found.count(1)


@dataclass(frozen=True)
class Mentions:
    """Scores a text by how often it names each side, with the words in `Dipole.mentions`.

    It reads no meaning: "anything but staples" counts as a mention of staples. It shares nothing with the
    recognizers that read with a model, which makes it a good second meter. A text that names neither side
    is unscored, since silence is no stance.
    """

    name: ClassVar[str] = "mentions"

    def score(self, texts: Sequence[str], concept: Dipole) -> list[Score]:
        """Log-odds of each text, positive towards the claim.

        Raises:
            UserError: The dipole does not have words for both sides.
        """
        mentions = getattr(concept, "mentions", None)
        if mentions is None or not (mentions.claim and mentions.against):
            raise UserError(
                "mentions needs words for both sides, and this concept has none; give the dipole "
                'mentions = { claim = ["paper clip"], against = ["staple"] }.'
            )
        scores = []
        for text in texts_of(texts, self.name):
            found = counts(text, concept)
            neither = Score.unscored("neither side is mentioned")
            scores.append(Score(count_log_odds(*found)) if any(found) else neither)
        return scores
