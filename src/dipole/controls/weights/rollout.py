"""Samples of the policy: drawn, judged, made into tensors; split over processes and gathered again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from dipole.batching import Batch, pad_batch
from dipole.protocols import LM, Recognizer
from dipole.reading.choice import prior_of
from dipole.types import Sample, Score, sample_seed, scored_text

T = TypeVar("T")


class Text(NamedTuple):
    """A text to learn from, as `Sample` is one too.

    Attributes:
        prompt_ids: What stands in front; at least one token.
        token_ids: What is learned; at least one token.
    """

    prompt_ids: Sequence[int]
    token_ids: Sequence[int]


@dataclass(frozen=True)
class Rows:
    """Sampled sequences, left-padded so that all of them end in the last column.

    The policy and the reference read the very same tensors, so their log-probabilities agree bit for
    bit as long as the policy equals the reference.

    Attributes:
        batch: Prompt and response tokens.
        keep: How many columns at the end hold responses, plus the one that predicts their first token.
        mask: `(rows, keep - 1)` 1 on response tokens, the end-of-text token included.
    """

    batch: Batch
    keep: int
    mask: Tensor

    def select(self, index: Sequence[int] | slice) -> Rows:
        """Some of the rows."""
        return Rows(Batch(*(t[index] for t in self.batch)), self.keep, self.mask[index])

    @property
    def targets(self) -> Tensor:
        """`(rows, keep - 1)` the token that each kept position predicts."""
        return self.batch.input_ids[:, -(self.keep - 1) :]


def sample_rows(
    lm: LM,
    prompts: Sequence[str],
    rows: Sequence[int],
    round_index: int,
    seed: int,
    max_new_tokens: int,
    batch_size: int,
) -> list[Sample]:
    """Continue prompts with whatever adapter is engaged on the resident model.

    Row r of round k continues prompt `(k * total + r) mod len(prompts)` in the caller's numbering and has
    a seed of its own, so the samples do not depend on how rows are split over processes.

    Args:
        lm: The LM whose resident model is sampled as it stands.
        prompts: One prompt a row.
        rows: Global index of each row, for its seed.
        round_index: Number of the round, for the seeds.
        seed: Seed of the run.
        max_new_tokens: Token budget.
        batch_size: Rows a forward.
    """
    seeds = [sample_seed(seed, round_index, row) for row in rows]
    return lm.sample(prompts, seeds, max_new_tokens=max_new_tokens, batch_size=batch_size)


def to_rows(samples: Sequence[Sample | Text], pad_id: int, device: torch.device) -> Rows:
    """Left-pad prompts and responses and mark the response tokens."""
    batch = pad_batch([[*s.prompt_ids, *s.token_ids] for s in samples], pad_id, "left", device)
    longest = max(len(s.token_ids) for s in samples)
    lengths = torch.tensor([len(s.token_ids) for s in samples])
    mask = torch.arange(longest) >= (longest - lengths)[:, None]
    return Rows(batch, longest + 1, mask.to(device=device, dtype=torch.float32))


def share(total: int, accelerator: Any) -> list[int]:
    """Global row indices that this process works on."""
    return list(range(accelerator.process_index, total, accelerator.num_processes))


def gather(values: Sequence[T], rows: Sequence[int], accelerator: Any) -> list[T]:
    """Collect one value a row from every process, in global row order.

    Args:
        values: Values of this process, one for each of `rows`; tensors on the CPU.
        rows: Global indices of the rows.
        accelerator: The run's accelerator.
    """
    from accelerate.utils import gather_object

    if accelerator.num_processes == 1 and list(rows) == list(range(len(rows))):
        return list(values)
    pairs: list[tuple[int, T]] = gather_object(list(zip(rows, values, strict=True)))
    return [value for _, value in sorted(pairs, key=lambda pair: pair[0])]


@torch.no_grad()
def priors(prompts: Sequence[str], recognizer: Recognizer, concept: Any) -> dict[str, float]:
    """Log-odds in nats of each prompt alone; 0 where the recognizer has nothing to say of it."""
    distinct = list(dict.fromkeys(prompts))
    values = prior_of(recognizer, distinct, concept)
    return {p: v if math.isfinite(v) else 0.0 for p, v in zip(distinct, values, strict=True)}


@torch.no_grad()
def judge(
    samples: Sequence[Sample],
    recognizer: Recognizer,
    concept: Any,
    accelerator: Any,
    prior: Mapping[str, float] | None = None,
) -> list[float]:
    """Probability that each sample leans towards the concept, NaN where unscorable, on every process.

    Args:
        samples: What was drawn.
        recognizer: Reads it.
        concept: What is wanted.
        accelerator: The run's accelerator.
        prior: Log-odds of each prompt alone, which are subtracted: what is rewarded is what the completion
            adds to its prompt. None subtracts nothing.
    """
    mine = share(len(samples), accelerator)
    scores = recognizer.score([scored_text(samples[row]) for row in mine], concept)
    less = [0.0 if prior is None else prior[samples[row].prompt] for row in mine]
    centred = [Score(score.value - by).probability for score, by in zip(scores, less, strict=True)]
    return gather(centred, mine, accelerator)
