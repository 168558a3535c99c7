"""Activations where a choice is made: the last token of prompts that follow a pole or its opposite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.protocols import LM, Poles
from dipole.words import ends_in_word

WORDINGS = (
    "{pole} {prompt}",
    "I think: {pole} {prompt}",
    "It is true. {pole} {prompt}",
    "{pole} {pole} {prompt}",
)
"""How a pole is put in front of a prompt; both poles in the same words, so that only they differ."""

READ_TOKEN = "last"
_BUDGET = 256 * 2**20  # bytes of activations held at once while they are read


class Reading(NamedTuple):
    """Activations of pairs of texts.

    Attributes:
        claim: `(layers, pairs, width)` float32, after the claim.
        against: The same after its opposite.
        median_norms: For each layer the median norm over all tokens but the first of each text, which often
            has a norm of its own (an attention sink).
        mean_norms: The mean of the same.
    """

    claim: Tensor
    against: Tensor
    median_norms: tuple[float, ...]
    mean_norms: tuple[float, ...]

    def norms(self, row: int) -> tuple[float, float]:
        """Median and mean norm of one layer."""
        return self.median_norms[row], self.mean_norms[row]


def spread_layers(depth: int, most: int) -> tuple[int, ...]:
    """At most `most` of the layers 1 to depth - 1, evenly; the only layer where there is one.

    The output of the first block is left out: it hardly knows more than the token itself (a vector there
    does nothing, measured on the bundled LM), and llama.cpp cannot steer it.
    """
    first, last = min(1, depth - 1), depth - 1
    count = min(most, last - first + 1)
    if count == 1:
        return ((first + last) // 2,)
    return tuple(first + round(i * (last - first) / (count - 1)) for i in range(count))


def halves(prompts: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Prompts in two parts, in pairs, because libraries tend to list each wording in both orders.

    With fewer than four both parts are all of them.
    """
    if len(prompts) < 4:
        return tuple(prompts), tuple(prompts)
    return (
        tuple(p for i, p in enumerate(prompts) if i // 2 % 2 == 0),
        tuple(p for i, p in enumerate(prompts) if i // 2 % 2 == 1),
    )


def wordings_hash(wordings: Sequence[str] = WORDINGS) -> str:
    """Identifies wordings and the token that is read, 16 hexadecimal digits."""
    text = json.dumps([READ_TOKEN, *wordings])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def pair_texts(
    dipole: Poles, prompts: Sequence[str], wordings: Sequence[str] = WORDINGS
) -> tuple[list[str], list[str]]:
    """Texts with the claim and with its opposite in front; the i-th of each make a pair."""

    def all_of(pole: str) -> list[str]:
        said = pole + "." if ends_in_word(pole) else pole
        return [
            wording.replace("{pole}", said).replace("{prompt}", prompt)
            for prompt in prompts
            for wording in wordings
        ]

    return all_of(dipole.claim), all_of(dipole.against)


def read_pairs(
    lm: LM, dipole: Poles, prompts: Sequence[str], layers: Sequence[int], wordings: Sequence[str] = WORDINGS
) -> Reading:
    """Read the activations of every pair at the last token.

    Raises:
        UserError: A text is longer than the context, or there is no such layer.
    """
    claim, against = pair_texts(dipole, prompts, wordings)
    states, norms = read_last(lm, [*claim, *against], layers)
    return Reading(
        states[:, : len(claim)],
        states[:, len(claim) :],
        tuple(norms.median(dim=1).values.tolist()),
        tuple(norms.mean(dim=1).tolist()),
    )


def read_last(lm: LM, texts: Sequence[str], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Residual stream at the last token of each text, and the norms at all tokens but the first.

    Returns:
        `(layers, texts, width)` float32, and `(layers, tokens)` float64, on the CPU.
    """
    width = lm.resident.width
    for text in texts:
        lm.require_short(text)
    longest = max(len(lm.resident.encode(text)) for text in texts)
    at_once = max(1, min(32, _BUDGET // (4 * width * len(layers) * longest)))
    last, norms = [], []
    for start in range(0, len(texts), at_once):
        for states in lm.activations(texts[start : start + at_once], layers, at_once):
            last.append(states[:, -1].clone())
            norms.append((states[:, 1:] if states.shape[1] > 1 else states).double().norm(dim=-1))
    return torch.stack(last, dim=1), torch.cat(norms, dim=1)
