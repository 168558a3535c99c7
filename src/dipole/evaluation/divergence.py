"""How far one LM has moved from another on the completions of the one that moved."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dipole.batching import chunks
from dipole.protocols import LM
from dipole.types import Sample, UserError

ELEMENTS = 2**26
"""Logits of each LM that are held at once: 256 MiB in float32."""
_POSITIONS = 64


class Divergence(NamedTuple):
    """One value a completion of the LM after.

    Attributes:
        kl: KL(after || before) in nats, summed over the response, exact over the vocabulary.
        logprob_after: Log-probability of the response under the LM after.
        logprob_before: The same under the LM before.
    """

    kl: NDArray[np.float64]
    logprob_after: NDArray[np.float64]
    logprob_before: NDArray[np.float64]


def divergence(
    before: LM,
    after: LM,
    samples: Sequence[Sample],
    batch_size: int = 64,
) -> Divergence:
    """KL(after || before) on samples of `after`, and their log-probabilities under both.

    Full distributions of both LMs are needed side by side, so rows go in groups whose logits fit in
    `ELEMENTS`; each LM is engaged once a group.

    Args:
        before: The LM that is compared with.
        after: The LM that drew the samples.
        samples: Its completions.
        batch_size: Rows a forward.

    Raises:
        UserError: The LMs have different vocabularies.
    """
    require_same_vocabulary(before, after)
    parts: list[tuple[float, float, float]] = []
    vocabulary = before.resident.columns
    longest = max((len(s.token_ids) for s in samples), default=0) + 1
    for group in chunks(len(samples), max(1, ELEMENTS // (vocabulary * longest))):
        responses = [s.token_ids for s in samples[group]]
        prompts = [s.prompt for s in samples[group]]
        logits = after.response_logits(prompts, responses, batch_size)
        base_logits = before.response_logits(prompts, responses, batch_size)
        for own, base, response in zip(logits, base_logits, responses, strict=True):
            parts.append(compared(own, base, response))
    columns = np.asarray(parts, dtype=np.float64).reshape(-1, 3)
    return Divergence(columns[:, 0], columns[:, 1], columns[:, 2])


def compared(logits: Tensor, base_logits: Tensor, tokens: Sequence[int]) -> tuple[float, float, float]:
    """KL(p || base) of one response in nats, and its log-probability under p and under the base.

    The KL is summed exactly over the vocabulary and over positions. Each position conditions on the tokens
    sampled so far, so over samples of p its mean is the KL between whole sequences, with less variance than
    the sum of log p - log base over the sampled tokens (Rao-Blackwell).

    Args:
        logits: `(time, vocab)`; any float type, computed in float32 a few positions at a time.
        base_logits: The same under the base, on any device.
        tokens: `(time,)` what was sampled.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for rows in chunks(len(tokens), _POSITIONS):
        log_p = logits[rows].float().log_softmax(-1)
        log_q = base_logits[rows].to(logits.device).float().log_softmax(-1)
        # A token that p never draws costs nothing, also where both forbid it (inf - inf).
        terms = torch.where(log_p > -torch.inf, log_p.exp() * (log_p - log_q), 0.0)
        drawn = torch.tensor(tokens[rows], device=logits.device)[:, None]
        parts = (terms, log_p.gather(-1, drawn), log_q.gather(-1, drawn))
        sums += torch.stack([part.sum(dtype=torch.float64).cpu() for part in parts])
    kl, own, base = sums.tolist()
    return kl, own, base


def require_same_vocabulary(before: LM, after: LM) -> None:
    """Refuse LMs whose tokens differ.

    Raises:
        UserError: They do.
    """
    if before.resident is after.resident:
        return
    if before.resident.tokenizer.get_vocab() != after.resident.tokenizer.get_vocab():
        raise UserError(
            f"{before.resident.name} and {after.resident.name} have different vocabularies, so their "
            "distributions can't be compared; compare an LM with the same LM under an intervention."
        )
