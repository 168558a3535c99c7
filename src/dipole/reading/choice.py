"""What can be told before anything is fitted: how far a prompt leans, and whether it forces a choice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dipole.protocols import LM, Recognizer
from dipole.types import Sample

if TYPE_CHECKING:
    from dipole.concepts import Dipole


class Choice(NamedTuple):
    """How the completions of one prompt chose.

    Attributes:
        prompt: What was completed.
        n: How many completions there are.
        claim: How many of them name the claim's side first.
        against: The same for the opposite.
    """

    prompt: str
    n: int
    claim: int
    against: int

    @property
    def forced(self) -> float:
        """Share of completions that take either side."""
        return (self.claim + self.against) / self.n


def prior_of(recognizer: Recognizer, prompts: Sequence[str], concept: object) -> list[float]:
    """Log-odds of each prompt alone, in nats: what a completion has before it says anything.

    Raises:
        UserError: The recognizer can't score for the concept.

    Returns:
        One for each prompt; NaN where it can't be scored.
    """
    return [score.value for score in recognizer.score(list(prompts), concept)]


def forced_share(
    lm: LM, dipole: Dipole, prompts: Sequence[str], n: int = 16, max_new_tokens: int = 20, seed: int = 0
) -> list[Choice]:
    """How often completions of each prompt take a side, by first mention.

    Args:
        lm: The LM that completes.
        dipole: Has words for both sides.
        prompts: To complete.
        n: Completions a prompt.
        max_new_tokens: Token budget of a completion.
        seed: Of the completions.

    Raises:
        UserError: A prompt does not fit in the context.

    Returns:
        One for each prompt; none where the dipole has no words for its sides, since nothing would be told.
    """
    if not dipole.mentions:
        return []
    return choices(dipole, lm.generate(list(prompts), n, max_new_tokens, seed))


def choices(dipole: Dipole, samples: Sequence[Sample]) -> list[Choice]:
    """The same of completions that there are, in the order in which their prompts come first."""
    found = []
    for prompt in dict.fromkeys(sample.prompt for sample in samples):
        # Of the completion alone: a prompt that forces the choice names both sides.
        sides = [dipole.side_taken(sample.text) for sample in samples if sample.prompt == prompt]
        found.append(Choice(prompt, len(sides), sides.count("claim"), sides.count("against")))
    return found
