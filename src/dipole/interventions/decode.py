"""The decode surface: which of several continuations is kept."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dipole.files.schema import Choice, Facts, Whole
from dipole.interventions.folder import META_FILE, checked_apply, read_fields, write_folder
from dipole.types import Sample, Surface, scored_text

if TYPE_CHECKING:
    from dipole.decoding.distribution import Decoding
    from dipole.protocols import LM

MOST_DRAWS = 512  # beyond that a choice costs more than any fit


@dataclass(frozen=True)
class BestOf:
    """Of n continuations the one that a recognizer reads as leaning most towards a concept.

    It is on (strength 1) or off (0); at -1 the one that leans least is kept. The first of the n has the
    sample's own seed, so that a prompt whose first continuation wins is not changed at all. A continuation
    that can't be scored is taken only if none can be.

    Its distance from the LM that it chooses from is known without a model: KL <= ln n - (n - 1) / n nats a
    sequence (Beirami et al. 2024, theorem 1).

    Attributes:
        recognizer: Name of the recognizer; one that reads with a model reads with the LM's base.
        concept: The concept as plain data.
        n: Continuations to choose from.
        card: Model card in Markdown.
    """

    recognizer: str
    concept: Mapping[str, Any]
    n: int
    card: str = field(default="")

    surface: ClassVar[Surface] = "decode"
    kind: ClassVar[str] = "best_of"
    graded: ClassVar[bool] = False

    @property
    def kl_bound(self) -> float:
        """Upper bound of the KL to the LM that is chosen from, nats a sequence."""
        return math.log(self.n) - (self.n - 1) / self.n

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM whose samples are the best of n.

        Raises:
            UserError: The strength is not 0, 1 or -1.
        """
        if strength == -1.0:
            return lm.with_intervention(self, strength)
        return checked_apply(self, lm, strength, "any model", None)

    def pick(
        self,
        lm: LM,
        prompts: Sequence[str],
        seeds: Sequence[int],
        max_new_tokens: int,
        decoding: Decoding,
        batch_size: int,
        strength: float,
    ) -> list[Sample]:
        """One continuation of each prompt; called by `LM.sample` with the LM that is chosen from."""
        drawn = several(lm, prompts, seeds, self.n, max_new_tokens, decoding, batch_size)
        return best_of_each(drawn, [score * strength for score in self._scores(lm, drawn)], self.n)

    def _scores(self, lm: LM, samples: Sequence[Sample]) -> list[float]:
        from dipole.concepts import Dipole
        from dipole.registry import make_recognizer

        judge = make_recognizer(self.recognizer, lm.base)
        concept = Dipole.from_dict(self.concept)
        return [score.value for score in judge.score([scored_text(s) for s in samples], concept)]

    def save(self, folder: Path) -> None:
        """Write `dipole.json` and a card."""
        meta = {
            "surface": self.surface,
            "kind": self.kind,
            "recognizer": self.recognizer,
            "concept": self.concept,
            "n": self.n,
        }
        write_folder(folder, meta, card=self.card)

    @classmethod
    def load(cls, folder: Path) -> BestOf:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        from dipole.concepts import Dipole
        from dipole.registry import RECOGNIZERS

        meta = read_fields(
            folder, {"recognizer": Choice(tuple(RECOGNIZERS)), "concept": Facts(), "n": Whole(1, MOST_DRAWS)}
        )
        concept = Dipole.from_dict(meta["concept"], f"The concept in {folder / META_FILE}")
        return cls(meta["recognizer"], concept.to_dict(), meta["n"])


def several(
    lm: LM,
    prompts: Sequence[str],
    seeds: Sequence[int],
    n: int,
    max_new_tokens: int,
    decoding: Decoding,
    batch_size: int,
) -> list[Sample]:
    """N continuations of each prompt, those of one prompt together; the first has the seed that was given."""
    from dipole.types import sample_seed

    spread = [sample_seed(seed, 0, k) if k else seed for seed in seeds for k in range(n)]
    repeated = [prompt for prompt in prompts for _ in range(n)]
    return lm.sample(repeated, spread, max_new_tokens, decoding, batch_size)


def best_of_each(drawn: Sequence[Sample], scores: Sequence[float], n: int) -> list[Sample]:
    """Of each n samples the one with the highest score; the first of equals, NaN after all others."""
    return [
        drawn[max(range(start, start + n), key=lambda i: (_worth(scores[i]), -i))]
        for start in range(0, len(drawn), n)
    ]


def _worth(score: float) -> float:
    return -math.inf if math.isnan(score) else score
