"""A linear probe on mean final hidden states that tells what was written under the claim from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from dipole.batching import pad_batch, parts
from dipole.probing.logistic import logistic
from dipole.protocols import Poles
from dipole.reading.sides import sided
from dipole.reading.told import tell
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.protocols import LM


class Probe(NamedTuple):
    """P(claim) = sigmoid(weight . h + bias).

    Attributes:
        weight: `(width,)` float32.
        bias: `()` float32.
        accuracy: Share that it tells right of the beginnings of texts that it was fitted on.
        elsewhere: The same of texts for prompts that it was not fitted on.
    """

    weight: Tensor
    bias: Tensor
    accuracy: float
    elsewhere: float


def fitted_probe(
    lm: LM,
    dipole: Poles,
    prompts: Sequence[str],
    others: Sequence[str],
    texts: int,
    max_new_tokens: int,
    seed: int,
) -> Probe:
    """Fit on what the model writes when told the claim and when told its opposite, read without that.

    Every beginning of a continuation is one example, because that is what the probe sees while text grows.

    Args:
        lm: The LM, whose interventions inside the model are engaged.
        dipole: The two statements.
        prompts: Prompts to continue.
        others: Prompts to test it on.
        texts: Continuations a prompt and statement.
        max_new_tokens: Token budget of each.
        seed: Their seed.

    Raises:
        UserError: Nothing was written.
    """
    x, y = _examples(lm, dipole, prompts, texts, max_new_tokens, seed)
    if not len(x):
        raise UserError("The model wrote nothing to fit a probe on; ask for more with max_new_tokens=….")
    weight, bias = logistic(x, y, standardise=True)

    def right(x: Tensor, y: Tensor) -> float:
        return float(((x.double() @ weight + bias > 0) == (y > 0)).double().mean())

    elsewhere = right(*_examples(lm, dipole, others, 1, max_new_tokens, seed + 1))
    return Probe(weight.float(), torch.tensor(bias), right(x, y), elsewhere)


def _examples(
    lm: LM, dipole: Poles, prompts: Sequence[str], texts: int, max_new_tokens: int, seed: int
) -> tuple[Tensor, Tensor]:
    """Mean states of beginnings `(n, width)`, and 1 for those of texts for the claim, else 0."""
    known = sided(dipole, tell(lm, dipole, prompts, texts * len(prompts), max_new_tokens, seed))
    rows = [(lm.prompt_ids(sample.prompt), list(sample.token_ids)) for sample, _ in known]
    features = running_means(lm, rows)
    labels = [
        torch.full((len(part),), float(claim)) for part, (_, claim) in zip(features, known, strict=True)
    ]
    return torch.cat(features), torch.cat(labels)


def running_means(lm: LM, rows: Sequence[tuple[list[int], list[int]]], batch_size: int = 16) -> list[Tensor]:
    """Mean final hidden state of each beginning of a continuation, `(beginnings, width)`.

    The state at the prompt's last token, which the continuation starts from, belongs to it. The rest of the
    prompt does not: both sides have the same prompts, and a mean over them drowns the few tokens that differ.
    """
    resident = lm.resident
    lengths = [len(p) + len(c) for p, c in rows]
    found: dict[int, Tensor] = {}
    for part in parts(lengths, batch_size, len(set(lengths)) < 2 or resident.probe.right):
        some = [rows[r] for r in part]
        batch = pad_batch([[*p, *c] for p, c in some], resident.pad_id, "right", resident.device)
        with lm.engaged() as model:
            hidden = model.base_model(**resident.inputs(batch), use_cache=False).last_hidden_state
        for r, states, (prompt, continuation) in zip(part, hidden.float().cpu(), some, strict=True):
            own = states[len(prompt) - 1 : len(prompt) + len(continuation)]
            found[r] = (own.cumsum(0) / torch.arange(1, len(own) + 1)[:, None])[1:]
    return [found[r] for r in range(len(rows))]
