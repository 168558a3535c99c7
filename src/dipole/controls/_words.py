"""Words for each side of a dipole as tokens: given by the user, or read off the model itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from dipole.batching import chunks
from dipole.controls._word_list import tokens_of, words_of
from dipole.protocols import Poles
from dipole.reading.sides import forms, names_both
from dipole.reading.told import told_by
from dipole.resident import Resident
from dipole.types import DipoleWarning, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

_PROMPTS = 16
_FAINT = 0.05


class Bags(NamedTuple):
    """Token ids for each side.

    Attributes:
        claim: Tokens that speak for the claim.
        against: Tokens that speak against it; may be empty.
    """

    claim: tuple[int, ...]
    against: tuple[int, ...]

    def facts(self, resident: Resident) -> dict[str, Any]:
        """The tokens as text, for `dipole.json`."""
        return {
            side: [resident.decode([], [token]) or str(token) for token in tokens]
            for side, tokens in (("words", self.claim), ("against_words", self.against))
        }


def bags_of(
    lm: LM, dipole: Poles, words: str, against_words: str, count: int, prompts: Sequence[str], whole: bool
) -> Bags:
    """Tokens of words that the user gave, or of the dipole's mentions, or those that tell the poles apart.

    Args:
        lm: What the words are for.
        dipole: What is wanted.
        words: For the claim: a file with a word a line, or words separated by commas; empty to derive both.
        against_words: The same for the other side.
        count: How many tokens a side to derive at most.
        prompts: Prompts to derive them on.
        whole: Only words that are one token count (PPLM); otherwise a word stands for its first token.

    Raises:
        UserError: No word is usable, words that differ all have one token, or one token stands on both sides.

    Warns:
        DipoleWarning: Not every word has a token that is the whole word and its own; see `tokens_of`.
    """
    if not words and not against_words:
        named = named_tokens(lm.resident, dipole) if names_both(dipole) else Bags((), ())
        return named if named.claim else telling_tokens(lm, dipole, prompts, count)
    (claim, note), (against, against_note) = (
        tokens_of(lm.resident, words_of(text, flag), flag, whole)
        for text, flag in ((words, "words"), (against_words, "against_words"))
    )
    both = [token for token in claim if token in against]
    if both:
        raise UserError(
            f"The token {lm.resident.decode([], both[:1])!r} begins a word on both sides, so it can't tell "
            "them apart; give words that begin differently."
        )
    if not claim and not against:
        raise UserError("words holds no word; give a list such as 'clips,paper', or a file of them.")
    if notes := " ".join(filter(None, (note, against_note))):
        warnings.warn(notes, DipoleWarning, stacklevel=3)
    return Bags(claim, against)


def named_tokens(resident: Resident, dipole: Poles) -> Bags:
    """First tokens of what the sides are called, within a text and at its start, in either case.

    A token that is no whole word ("St" of "Staples") begins too much else, so it counts only where a side has
    no other. What begins a word of both sides is left out.
    """
    sides = zip(forms(dipole), (dipole.mentions.claim, dipole.mentions.against), strict=True)
    claim, against = (_begins(resident, (form, *words)) for form, words in sides)
    return Bags(
        tuple(token for token in claim if token not in against),
        tuple(token for token in against if token not in claim),
    )


def _begins(resident: Resident, words: Sequence[str]) -> tuple[int, ...]:
    whole: list[int] = []
    parts: list[int] = []
    for word in words:
        for written in dict.fromkeys((word, word[:1].upper() + word[1:])):
            for text in (f" {written}", written):
                ids = resident.continuation_ids(text)
                said = resident.decode([], ids[:1]).strip()
                if not said or ids[0] == resident.tokenizer.unk_token_id:
                    continue
                (whole if said == written.split()[0] else parts).append(ids[0])
    return tuple(dict.fromkeys(whole or parts[:1]))


def telling_tokens(lm: LM, dipole: Poles, prompts: Sequence[str], count: int) -> Bags:
    """Tokens that most tell the model told the claim from the model told its opposite, at the choice.

    Both read each prompt with their statement in front; p and q are their next-token distributions, averaged
    over the prompts. A token's worth is (p - q) log(p / q), its share of Jeffreys' divergence: the plain
    log-ratio would pick tokens that neither would ever say. Tokens with less than a twentieth of the best
    one's worth are left out, and at least one is kept a side.
    """
    claim, against = (told_share(lm, pole, prompts) for pole in (dipole.claim, dipole.against))
    ratio = (claim + 1e-9).log() - (against + 1e-9).log()
    worth = ((claim - against) * ratio)[: lm.resident.written]  # others are not in any text
    ratio = ratio[: len(worth)]
    floor = _FAINT * float(worth.max())

    def side(sign: int) -> tuple[int, ...]:
        best = (worth * (ratio * sign > 0)).topk(min(count, len(worth)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return tuple(token for k, (token, value) in enumerate(pairs) if k == 0 or value >= floor)

    return Bags(side(1), side(-1))


def told_share(lm: LM, pole: str, prompts: Sequence[str]) -> Tensor:
    """Next-token distribution after the prompts with a statement in front, averaged: `(vocab,)` float64."""
    return torch.stack([part.sum(0) for part in _told(lm, pole, prompts)]).sum(0) / len(prompts)


def _told(lm: LM, pole: str, prompts: Sequence[str]) -> Iterator[Tensor]:
    for part in chunks(len(prompts), _PROMPTS):
        some = prompts[part]
        logits = told_by(lm, pole).response_logits(some, [[0]] * len(some), _PROMPTS)
        yield torch.cat(logits).float().softmax(-1).cpu().double()
