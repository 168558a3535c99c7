"""VELMA: which of two statements is likelier to follow a text, by a language model's own likelihoods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from torch import Tensor

from dipole.protocols import LM
from dipole.recognizers._statements import Poles, check_settings, statements, texts_of
from dipole.recognizers.likelihood import continuation_likelihoods
from dipole.types import Score


class IdScores(NamedTuple):
    """Scores of token ids.

    Attributes:
        log_odds: `(n,)` float64 on the CPU, in nats; not finite where the judge's logits are not.
        nats_per_token: `(n, 2)` mean log-likelihood of the claim and of its opposite after each prefix.
        text_logprobs: For each prefix the judge's float32 log-probabilities, in nats, of its tokens from the
            wanted index on; empty tensors where none were wanted.
        cut: Tokens left out at the beginning of each prefix to make room for the statements.
    """

    log_odds: Tensor
    nats_per_token: Tensor
    text_logprobs: list[Tensor]
    cut: list[int]


def log_odds(nats_per_token: Tensor, temperature: float, prior: Tensor | None = None) -> Tensor:
    """VELMA's score of a pair, before the sigmoid (Bricman 2022).

    Args:
        nats_per_token: `(n, 2)` mean log-likelihood of the claim and of its opposite after each text.
        temperature: Divides the difference; 0.2 as published.
        prior: `(2,)` the same after nothing, which is subtracted; None leaves it out, as published.

    Returns:
        `(n,)` log-odds in nats.
    """
    if prior is not None:
        nats_per_token = nats_per_token - prior
    return (nats_per_token[:, 0] - nats_per_token[:, 1]) / temperature


@dataclass(frozen=True)
class Velma:
    """Scores a text by how much likelier the claim is to follow it than its opposite.

    Log-odds = (mean token log-likelihood of the claim after the text, less that of its opposite) / 0.2,
    natural logarithm, so `Score.probability` is the number that Bricman (2022) publishes. Departures from
    the released code:

    1. Statements are tokenised apart and joined as ids, so no token can merge across the boundary.
    2. An empty text becomes the start token, so that the first token of a statement is predicted too.
    3. White space at the end of a text is dropped, because a statement brings its own: after a double
       space its first word is another token, one that the model has hardly seen.
    4. Both statements are scored in one pass that shares the text's computation.
    5. A text too long for the context keeps its end (and a start token), and `Score.reason` says so.

    Attributes:
        judge: The LM that reads; its interventions are engaged.
        temperature: Divides the difference of nats a token.
        prior_correction: Subtract what the statements score after nothing (pointwise mutual information).
        joiner: What stands between the text and a statement.
        batch_size: Texts a forward.
    """

    judge: LM
    temperature: float = 0.2
    prior_correction: bool = False
    joiner: str = " "
    batch_size: int = 16

    name: ClassVar[str] = "velma"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_settings(self.name, self.temperature, self.batch_size)

    def score(self, texts: Sequence[str], concept: Poles) -> list[Score]:
        """Log-odds of each text, positive towards the claim.

        Raises:
            UserError: A statement is empty, or the judge's context has no room for the statements.
        """
        encoded = [self.judge.resident.encode(self._ready(text)) for text in texts_of(texts, self.name)]
        found = self.score_ids(encoded, concept)
        return [
            _to_score(value, pair, len(ids), cut)
            for value, pair, ids, cut in zip(
                found.log_odds.tolist(), found.nats_per_token.tolist(), encoded, found.cut, strict=True
            )
        ]

    def score_ids(
        self,
        prefixes: Sequence[Sequence[int]],
        concept: Poles,
        text_logprobs_from: Sequence[int] | None = None,
    ) -> IdScores:
        """The same for token ids, so that what was sampled is not tokenised again.

        Args:
            prefixes: Token ids of each text, at least one, a start token included where there should be one.
            concept: The statement and its opposite.
            text_logprobs_from: For each prefix the index of the first of its own tokens whose log-probability
                under the judge is wanted too (the length of the prompt, for prompt and response); from 1 to
                its length. It comes out of the same forward: PPO's reference for free.
        """
        poles = self.pole_ids(concept)
        rows, starts = list(prefixes), text_logprobs_from
        if self.prior_correction:
            rows.append(self.judge.resident.encode(""))
            starts = None if starts is None else [*starts, len(rows[-1])]
        found = continuation_likelihoods(self.judge, rows, poles, starts, self.batch_size)
        n = len(prefixes)
        pairs = found.nats_per_token[:n]
        prior = found.nats_per_token[n] if self.prior_correction else None
        odds = log_odds(pairs, self.temperature, prior)
        return IdScores(odds, pairs, found.text_logprobs[:n], found.cut[:n])

    def pole_ids(self, concept: Poles) -> tuple[list[int], list[int]]:
        """Token ids of the claim and of its opposite as they stand after a text.

        Raises:
            UserError: A statement is empty.
        """
        encode = self.judge.resident.continuation_ids
        claim, against = (encode(self.joiner + text) for text in statements(concept, self.name))
        return claim, against

    def _ready(self, text: str) -> str:
        return text.rstrip() if self.joiner[:1].isspace() else text


def _to_score(value: float, pair: Sequence[float], length: int, cut: int) -> Score:
    if not math.isfinite(value):
        return Score.unscored(
            f"the judge's log-likelihoods of the two statements are {pair[0]:g} and {pair[1]:g} nats a token"
        )
    if cut:
        return Score(value, f"only the last {length - cut} of {length} tokens fit in the judge's context")
    return Score(value)
