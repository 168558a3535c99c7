"""Label sets under global normalisation: every label is scored, and one is drawn from the softmax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.batching import pad_batch
from dipole.decoding.guides import Row, Session
from dipole.interventions.pools.labels import Labels
from dipole.interventions.pools.vocabulary import Vocabulary, drops_first_space
from dipole.types import UserError

_LOGITS_A_FORWARD = 1 << 26


class Path(NamedTuple):
    """A label as tokens.

    Attributes:
        tokens: Its tokens, the end-of-text token last.
        score: Log-probability in nats that counts for it, relative to the other labels'.
    """

    tokens: tuple[int, ...]
    score: float


def next_logprobs(paths: Sequence[Path], done: Sequence[int]) -> dict[int, float]:
    """Log-probability of each next token under the softmax over the paths that begin with `done`."""
    prefix = tuple(done)
    logs: dict[int, list[float]] = {}
    for path in paths:
        if path.tokens[: len(prefix)] == prefix and len(path.tokens) > len(prefix):
            logs.setdefault(path.tokens[len(prefix)], []).append(path.score)
    if not logs:
        return {}
    sums = {t: float(torch.tensor(v, dtype=torch.float64).logsumexp(0)) for t, v in logs.items()}
    total = float(torch.tensor(list(sums.values()), dtype=torch.float64).logsumexp(0))
    return {token: value - total for token, value in sums.items()}


class GlobalGuide:
    """Draws a label from the softmax of the labels' scores, one token at a time.

    The score of a label is the sum of the log-probabilities of its tokens behind the prompt, in the one
    tokenisation that the tokenizer gives it there, and of the end-of-text token if that counts. Other
    tokenisations are neither scored nor written. Scores are of the model with what is in it (adapters,
    vectors, prompts), before guidance on logits and temperature.
    """

    def __init__(
        self, session: Session, labels: Labels, words: Vocabulary, prior: str, count_end: bool
    ) -> None:
        """Score every label behind every prompt.

        Args:
            session: The batch.
            labels: What may be said.
            words: The model's tokens.
            prior: A prompt without content, whose scores are subtracted; none if empty.
            count_end: Whether the end-of-text token counts.
        """
        self._eos = min(words.eos_ids)
        known: dict[tuple[int, ...], list[Path]] = {}
        for row in session.rows:
            if row.ids not in known:
                known[row.ids] = self._paths(session, labels, words, row, count_end)
        if prior:
            ids = tuple(session.encode(prior))
            neutral = self._paths(session, labels, words, Row(prior, ids), count_end)
            for paths in known.values():
                paths[:] = [Path(p.tokens, p.score - n.score) for p, n in zip(paths, neutral, strict=True)]
        self._rows = [(known[row.ids], list[int]()) for row in session.rows]

    def _paths(
        self, session: Session, labels: Labels, words: Vocabulary, row: Row, count_end: bool
    ) -> list[Path]:
        resident = session.resident
        shown = resident.decode([], row.ids)
        drops = not shown and drops_first_space(resident, words, row.ids)
        texts = labels.texts("a" if drops else shown)  # with the space that the tokenizer expects there
        tokens = [tuple(resident.continuation_ids(text)) for text in texts]
        for text, ids, label in zip(texts, tokens, labels.labels, strict=True):
            written = [words.texts[i] if i < len(words.texts) else None for i in ids]
            known = [part for part in written if part is not None]
            if len(known) < len(written) or b"".join(known).decode("utf-8", "replace") != text:
                raise UserError(
                    f"The tokenizer of {resident.name} can't write the label {label!r}; use other words."
                )
        scored = [(*ids, self._eos) if count_end else ids for ids in tokens]
        scores = label_scores(session, row.ids, scored)
        return [Path((*ids, self._eos), score) for ids, score in zip(tokens, scores, strict=True)]

    @property
    def streams(self) -> Sequence[Sequence[int]]:
        """None."""
        return ()

    def __call__(self, logits: Tensor, streams: Tensor) -> Tensor:
        """Log-probabilities of each next token of the labels; -inf elsewhere."""
        del streams
        out = torch.full_like(logits, -torch.inf)
        for row, (paths, done) in enumerate(self._rows):
            following = next_logprobs(paths, done) or {self._eos: 0.0}
            index = torch.tensor(list(following), device=out.device)
            out[row, index] = torch.tensor(list(following.values()), dtype=out.dtype, device=out.device)
        return out

    def advance(self, tokens: Tensor) -> None:
        """Go on with the tokens `(rows,)`."""
        for (_, done), token in zip(self._rows, tokens.tolist(), strict=True):
            done.append(token)

    def keep(self, index: Tensor) -> None:
        """Go on with these rows only; a row may be named more than once."""
        self._rows = [(self._rows[k][0], list(self._rows[k][1])) for k in index.tolist()]


def label_scores(session: Session, prefix: Sequence[int], labels: Sequence[Sequence[int]]) -> list[float]:
    """Log-probability in nats of each continuation of a prefix, teacher forced.

    Args:
        session: Model and tokenizer.
        prefix: Token ids, at least one.
        labels: Token ids of each continuation.
    """
    resident = session.resident
    longest = max(map(len, labels))
    limit = resident.context_length
    if limit is not None and len(prefix) + longest > limit:
        raise UserError(
            f"A label of {longest} tokens does not fit behind a prompt of {len(prefix)} tokens in the "
            f"context of {resident.name} ({limit} tokens); shorten the prompt."
        )
    rows = max(1, _LOGITS_A_FORWARD // ((longest + 1) * resident.columns))
    scores: list[float] = []
    for start in range(0, len(labels), rows):
        part = labels[start : start + rows]
        batch = pad_batch([[*prefix, *label] for label in part], resident.pad_id, "left", resident.device)
        logprobs = resident.last_logits(session.model, batch, longest + 1).float().log_softmax(-1)
        targets = batch.input_ids[:, -logprobs.shape[1] :].to(logprobs.device)
        picked = logprobs[:, :-1].gather(-1, targets[:, 1:, None]).squeeze(-1).double()
        scores += [float(picked[k, picked.shape[1] - len(label) :].sum()) for k, label in enumerate(part)]
    return scores
