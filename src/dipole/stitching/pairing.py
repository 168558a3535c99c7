"""Positions of two tokenizations of one text at which both LMs have read exactly the same bytes.

Recipe (Bello et al. 2025, arXiv:2506.00653, for one tokenizer; by byte ends, so that it holds for any two):
take the raw UTF-8 bytes of a text; find where each token ends in them; pair the tokens that end at the same
byte. Not starts, and not strings of tokens: only equal ends mean that both residuals have seen the same
prefix.

Left out: special tokens and position 0, the first token of each text (often an attention sink), ends inside
a character of several bytes, and what lies beyond the first token that is not found in the raw text (an
unknown word, a normalising tokenizer): from there on the ends are not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from dipole.interventions.pools.vocabulary import token_texts, vocabulary
from dipole.resident import Resident
from dipole.types import UserError

UNKNOWN = -1
RELAX_BELOW = 0.6
"""Share of the coarser tokens below which relaxed pairs are worth having (recipe 2 (+))."""
_WHITE = b" \t\n\r\x0b\x0c"


class Pair(NamedTuple):
    """Two tokens that end together.

    Attributes:
        source: Position in the source's token ids.
        target: Position in the target's.
        end: Byte end in the text; of a relaxed pair, that of the coarser token.
        relaxed: Whether the finer token ends earlier in the same word, so that it has read less.
    """

    source: int
    target: int
    end: int
    relaxed: bool = False


@dataclass(frozen=True)
class Pairing:
    """The pairs of one text.

    Attributes:
        pairs: In the order of the text.
        coarse: How many tokens of the coarser tokenization could have had a partner, those whose ends got
            lost among them.
        fine: The same of the finer.
    """

    pairs: tuple[Pair, ...]
    coarse: int
    fine: int

    @property
    def exact(self) -> int:
        """How many pairs end at the same byte."""
        return sum(not pair.relaxed for pair in self.pairs)


def token_ends(tokens: Sequence[bytes | None], raw: bytes) -> list[int]:
    """Byte end of each token in the raw text.

    A space in front of the first token that the text does not have (sentencepiece's virtual space) counts
    nothing. From the first token that does not stand in the text where it should, nothing is known.

    Args:
        tokens: What each token writes; empty for a special token that writes nothing, None for one that can't
            be found in a text (an unknown word).
        raw: The text in UTF-8.

    Returns:
        One number a token; -1 where it has no end of its own: special, empty, or not known.
    """
    plain = _walk(tokens, raw, 0)
    if not next((token for token in tokens if token), b"").startswith(b" "):
        return plain
    virtual = _walk(tokens, raw, 1)
    return max(plain, virtual, key=max)  # whichever gets farther


def _walk(tokens: Sequence[bytes | None], raw: bytes, skip: int) -> list[int]:
    """Ends of tokens, the first `skip` bytes of which do not stand in the text."""
    ends, at = [], 0
    for token in tokens:
        if token is None:
            break
        written, skip = token[skip:], max(0, skip - len(token))
        if not raw.startswith(written, at):
            break
        at += len(written)
        ends.append(at if written else UNKNOWN)
    return ends + [UNKNOWN] * (len(tokens) - len(ends))


def usable(ends: Sequence[int], raw: bytes) -> list[tuple[int, int]]:
    """Positions and ends that may be paired: not the first token, not position 0, not inside a character."""
    known = [(i, end) for i, end in enumerate(ends) if end != UNKNOWN]
    return [(i, end) for i, end in known[1:] if i > 0 and not _inside_character(raw, end)]


def lost(ends: Sequence[int], raw: bytes) -> int:
    """How many tokens have no known end because an earlier one does not stand in the text (`token_ends`).

    The first token is not counted, as nothing pairs it; a tail that the tokenizer was not given is not lost.
    """
    last = max((i for i, end in enumerate(ends) if end != UNKNOWN), default=0)
    whole = bool(ends) and ends[last] == len(raw)
    return 0 if whole else len(ends) - last - 1


def _inside_character(raw: bytes, end: int) -> bool:
    return end < len(raw) and raw[end] & 0xC0 == 0x80


def merge(source: Sequence[int], target: Sequence[int], raw: bytes, relaxed: bool = False) -> Pairing:
    """Pair two tokenizations by equal byte ends, with two pointers.

    Args:
        source: Byte end of each source token; -1 where there is none.
        target: The same of the target.
        raw: The text in UTF-8.
        relaxed: Pair each remaining token of the coarser side with the last finer token of the same word that
            ends before it; such pairs are marked.
    """
    left, right = usable(source, raw), usable(target, raw)
    pairs, i, j = [], 0, 0
    while i < len(left) and j < len(right):
        (at, end), (to, other) = left[i], right[j]
        if end == other:
            pairs.append(Pair(at, to, end))
        i, j = i + (end <= other), j + (other <= end)
    sizes = len(left) + lost(source, raw), len(right) + lost(target, raw)
    if relaxed:
        pairs += _relaxed(left, right, raw, {pair.end for pair in pairs}, sizes[0] <= sizes[1])
    return Pairing(tuple(sorted(pairs, key=_by_end)), *sorted(sizes))


def _by_end(pair: Pair) -> int:
    return pair.end


def _relaxed(
    left: Sequence[tuple[int, int]],
    right: Sequence[tuple[int, int]],
    raw: bytes,
    paired: set[int],
    source_is_coarse: bool,
) -> list[Pair]:
    coarse, fine = (left, right) if source_is_coarse else (right, left)
    found, j = [], 0
    for position, end in coarse:
        while j + 1 < len(fine) and fine[j + 1][1] <= end:
            j += 1
        if end in paired or not fine or fine[j][1] > end:
            continue
        other, before = fine[j]
        if not any(byte in _WHITE for byte in raw[before - 1 : end]):
            places = (position, other) if source_is_coarse else (other, position)
            found.append(Pair(*places, end, True))
    return found


class Reader:
    """Token ids of texts for one model, with their byte ends.

    Args:
        resident: The model.
        most: How many tokens of a text are kept at most; the rest of it is a tail that is not read.

    Raises:
        UserError: The bytes of the tokens can't be worked out (WordPiece, for instance).
    """

    def __init__(self, resident: Resident, most: int) -> None:
        limit = resident.context_length
        self.resident = resident
        self.most = most if limit is None else min(most, limit)
        try:
            vocabulary(resident)  # checks them
            self._texts = token_texts(resident)
        except UserError as error:
            raise UserError(
                f"The texts of {resident.name} can't be paired with another model's by byte ends, because "
                "its tokenizer writes neither byte-level nor sentencepiece tokens that give back the text "
                "(WordPiece does not); use a model with such a tokenizer."
            ) from error

    def read(self, text: str) -> tuple[list[int], list[int]]:
        """Token ids and the byte end of each."""
        raw = text.encode("utf-8", "surrogatepass")
        ids = self.resident.encode(text)[: self.most]
        return ids, token_ends([self._written(i) for i in ids], raw)

    def _written(self, token: int) -> bytes | None:
        known = self._texts[token] if token < len(self._texts) else None
        if known is not None:
            return known
        if token == self.resident.tokenizer.unk_token_id:
            return None
        # A special one that is read as such is no text to the model: the next token then stands elsewhere.
        return b""


def pair_text(source: Reader, target: Reader, text: str, relaxed: bool = False) -> Pairing:
    """The pairs of one text, without its activations."""
    raw = text.encode("utf-8", "surrogatepass")
    return merge(source.read(text)[1], target.read(text)[1], raw, relaxed)
