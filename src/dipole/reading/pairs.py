"""Activations where a choice is made: the last token of prompts that follow a pole or its opposite."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dipole.protocols import LM, Poles
from dipole.resident import Resident
from dipole.words import ends_in_word

WORDINGS = (
    "{pole} {prompt}",
    "I think: {pole} {prompt}",
    "It is true. {pole} {prompt}",
    "{pole} {pole} {prompt}",
)
"""How a pole is put in front of a prompt; both poles in the same words, so that only they differ."""

CHAT_WORDINGS = (
    "You hold this view, and everything you write agrees with it: {pole}",
    "You think: {pole}",
    "It is true. {pole}",
    "{pole} {pole}",
)
"""The same as a directive, for a model that reads chats."""

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


def wordings_for(resident: Resident) -> tuple[str, ...]:
    """How poles are put to a model: in front of prompts, or as a directive where it reads chats."""
    return CHAT_WORDINGS if resident.chat else WORDINGS


def sentence(pole: str) -> str:
    """A pole that ends as a sentence does."""
    return pole + "." if ends_in_word(pole) else pole


def pair_texts(
    dipole: Poles, prompts: Sequence[str], wordings: Sequence[str] = WORDINGS
) -> tuple[list[str], list[str]]:
    """Texts with the claim and with its opposite in front; the i-th of each make a pair."""

    def all_of(pole: str) -> list[str]:
        return [
            wording.replace("{pole}", sentence(pole)).replace("{prompt}", prompt)
            for prompt in prompts
            for wording in wordings
        ]

    return all_of(dipole.claim), all_of(dipole.against)


def pair_chats(lm: LM, dipole: Poles, prompts: Sequence[str]) -> tuple[list[list[int]], list[list[int]]]:
    """The same as token ids of chats whose directive is the pole; the assistant speaks behind the last one.

    Raises:
        UserError: A prompt is far longer than the context, or the chat template can't carry it.
    """
    claim, against = (
        [
            lm.prompt_ids(prompt, wording.replace("{pole}", sentence(pole)))
            for prompt in prompts
            for wording in CHAT_WORDINGS
        ]
        for pole in (dipole.claim, dipole.against)
    )
    return claim, against


def read_pairs(
    lm: LM, dipole: Poles, prompts: Sequence[str], layers: Sequence[int], plain: bool = False
) -> Reading:
    """Read the activations of every pair at the last token.

    Args:
        lm: The LM that reads.
        dipole: The two poles.
        prompts: What follows them.
        layers: Blocks whose output is read.
        plain: Read texts also where the LM reads chats.

    Raises:
        UserError: A text is longer than the context, or there is no such layer.
    """
    if lm.resident.chat and not plain:
        claim, against = pair_chats(lm, dipole, prompts)
        states, norms = read_last_ids(lm, [*claim, *against], layers)
    else:
        claim_texts, against_texts = pair_texts(dipole, prompts)
        states, norms = read_last(lm, [*claim_texts, *against_texts], layers)
    return Reading(
        states[:, : states.shape[1] // 2],
        states[:, states.shape[1] // 2 :],
        tuple(norms.median(dim=1).values.tolist()),
        tuple(norms.mean(dim=1).tolist()),
    )


def norms_of(lm: LM, prompts: Sequence[str], layers: Sequence[int]) -> list[tuple[float, float]]:
    """Median and mean norm of each layer's activations where the LM reads prompts, as `Reading` has them."""
    _, norms = read_last_ids(lm, [lm.prompt_ids(prompt) for prompt in prompts], layers)
    return list(zip(norms.median(dim=1).values.tolist(), norms.mean(dim=1).tolist(), strict=True))


def read_last(lm: LM, texts: Sequence[str], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Residual stream at the last token of each text, and the norms at all tokens but the first.

    Returns:
        `(layers, texts, width)` float32, and `(layers, tokens)` float64, on the CPU.
    """
    for text in texts:
        lm.require_short(text)
    return read_last_ids(lm, [lm.resident.encode(text) for text in texts], layers)


def read_last_ids(lm: LM, encoded: Sequence[Sequence[int]], layers: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The same as `read_last` of texts that are token ids already."""
    width = lm.resident.width
    longest = max(map(len, encoded))
    at_once = max(1, min(32, _BUDGET // (4 * width * len(layers) * longest)))
    last, norms = [], []
    for start in range(0, len(encoded), at_once):
        for states in lm.token_activations(encoded[start : start + at_once], layers, at_once):
            last.append(states[:, -1].clone())
            norms.append((states[:, 1:] if states.shape[1] > 1 else states).double().norm(dim=-1))
    return torch.stack(last, dim=1), torch.cat(norms, dim=1)
