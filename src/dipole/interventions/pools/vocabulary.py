"""The vocabulary of a tokenizer as bytes, and as a trie over them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from dipole.resident import Resident
from dipole.types import UserError

Ints = NDArray[np.int64]
_SPACE_MARK = "\u2581"
_BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>\Z")
_PROBES = (" The cats' 12 dogs, naïve café — “quoted” 🙂", "\n\tx  =  [1](2)", "日本語 и другое")


def byte_level_alphabet() -> dict[str, int]:
    """Character to byte of byte-level BPE (Radford 2019): printable bytes stand for themselves."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(b): b for b in plain} | {chr(256 + k): b for k, b in enumerate(moved)}


def token_bytes(tokenizer: Any) -> list[bytes | None]:
    """The bytes that each token id writes; None for special tokens.

    Read from the token's own name by the rule of the tokenizer's decoder, because decoding an id alone turns
    the bytes of a part of a character into a replacement sign.

    Raises:
        UserError: The tokenizer writes neither byte-level tokens nor sentencepiece's.
    """
    kinds = _decoders(tokenizer)
    special = set(tokenizer.all_special_ids)
    special |= {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    if "ByteLevel" in kinds:
        alphabet = byte_level_alphabet()
        return [None if i in special or not t else _byte_level(t, alphabet) for i, t in enumerate(names)]
    falls_back = "ByteFallback" in kinds
    return [None if i in special or not t else _sentencepiece(t, falls_back) for i, t in enumerate(names)]


def _byte_level(token: str, alphabet: dict[str, int]) -> bytes:
    try:
        return bytes(alphabet[c] for c in token)
    except KeyError:  # a token that was added as plain text
        return token.encode("utf-8", "surrogatepass")


def _sentencepiece(token: str, falls_back: bool) -> bytes:
    found = _BYTE_TOKEN.match(token) if falls_back else None
    if found:
        return bytes([int(found[1], 16)])
    return token.replace(_SPACE_MARK, " ").encode("utf-8", "surrogatepass")


def _decoders(tokenizer: Any) -> set[str]:
    """Names of the steps that turn tokens into text."""
    from transformers import PreTrainedTokenizerFast

    decoder = tokenizer.backend_tokenizer.decoder if isinstance(tokenizer, PreTrainedTokenizerFast) else None
    state = {} if decoder is None else json.loads(decoder.__getstate__())
    steps = state.get("decoders", [state])
    kinds = {str(step.get("type")) for step in steps}
    marks = any(step.get("pattern", {}).get("String") == _SPACE_MARK for step in steps)
    if "ByteLevel" in kinds or "Metaspace" in kinds or marks:
        return kinds
    raise UserError(
        f"A token pool needs to know the bytes of each token, and the tokenizer {type(tokenizer).__name__} "
        f"writes neither byte-level nor sentencepiece tokens (its decoder: {', '.join(sorted(kinds))}); use "
        "a model with such a tokenizer."
    )


@dataclass(frozen=True, eq=False)
class Trie:
    """Tokens as a trie over their bytes, in compact arrays; node 0 is the root.

    Attributes:
        byte: `(nodes,)` byte on the edge to each node.
        child_start: `(nodes,)` first child; the children of a node stand together.
        child_count: `(nodes,)` how many.
        token_start: `(nodes,)` first of the tokens that end at each node, in `tokens`.
        token_count: `(nodes,)` how many: two tokens may have the same bytes.
        tokens: Token ids, by node.
    """

    byte: NDArray[np.uint8]
    child_start: Ints
    child_count: Ints
    token_start: Ints
    token_count: Ints
    tokens: Ints


def build_trie(entries: Iterable[tuple[bytes, int]]) -> Trie:
    """The trie of pairs of bytes (at least one) and token id, one level of it at a time."""
    ordered = sorted(entries)
    lengths = np.array([len(text) for text, _ in ordered], dtype=np.int64)
    flat = np.frombuffer(b"".join(text for text, _ in ordered) + b"\0", dtype=np.uint8)
    offsets = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.int64)
    at = np.zeros(len(ordered), dtype=np.int64)  # node that each token has come to
    parents, edges, total = [np.array([-1])], [np.zeros(1, dtype=np.uint8)], 1
    active = np.arange(len(ordered))
    depth = 0
    while active.size:
        edge = flat[offsets[active] + depth]
        # In sorted order the tokens of one child stand side by side.
        new = np.ones(active.size, dtype=bool)
        new[1:] = (at[active][1:] != at[active][:-1]) | (edge[1:] != edge[:-1])
        parents.append(at[active][new])
        edges.append(edge[new])
        at[active] = total + np.cumsum(new) - 1
        total += int(new.sum())
        depth += 1
        active = active[lengths[active] > depth]
    parent, nodes = np.concatenate(parents), np.arange(total)
    child_start = np.searchsorted(parent, nodes, "left")
    child_count = np.searchsorted(parent, nodes, "right") - child_start
    by_node = np.argsort(at, kind="stable")
    token_start = np.searchsorted(at[by_node], nodes, "left")
    token_count = np.searchsorted(at[by_node], nodes, "right") - token_start
    ids = np.array([token for _, token in ordered], dtype=np.int64)[by_node]
    return Trie(np.concatenate(edges), child_start, child_count, token_start, token_count, ids)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What a model's tokens write.

    Attributes:
        texts: Bytes of each token id of the model, None for control tokens and those that its tokenizer
            does not know.
        eos_ids: Token ids that end a text.
    """

    texts: Sequence[bytes | None]
    eos_ids: tuple[int, ...]

    @cached_property
    def trie(self) -> Trie:
        """All tokens that write something."""
        return build_trie((text, i) for i, text in enumerate(self.texts) if text)

    @cached_property
    def first_trie(self) -> Trie:
        """The same as the first token of a text whose first space the tokenizer drops (sentencepiece)."""
        return build_trie((t, i) for i, t in enumerate(self.first_texts) if t)

    @cached_property
    def first_texts(self) -> Sequence[bytes | None]:
        """Bytes of each token where its first space is dropped."""
        return [None if text is None else text.removeprefix(b" ") for text in self.texts]

    @cached_property
    def single_bytes(self) -> NDArray[np.bool_]:
        """`(256,)` which bytes are tokens of their own."""
        have = np.zeros(256, dtype=bool)
        have[[text[0] for text in self.texts if text is not None and len(text) == 1]] = True
        return have

    @cached_property
    def characters(self) -> frozenset[str]:
        """Characters that are tokens of their own, if every token is whole characters; else none."""
        found = set()
        for text in self.texts:
            if text is None:
                continue
            try:
                whole = text.decode("utf-8")
            except UnicodeDecodeError:
                return frozenset()
            if len(whole) == 1:
                found.add(whole)
        return frozenset(found)

    def unwritable(self, text: str) -> list[str]:
        """Characters of a text at which writing it could get stuck: no token for them or their bytes."""
        return [
            c
            for c in sorted(set(text))
            if c not in self.characters and not self.single_bytes[list(c.encode("utf-8"))].all()
        ]


_KNOWN: WeakKeyDictionary[Resident, Vocabulary] = WeakKeyDictionary()


def vocabulary(resident: Resident) -> Vocabulary:
    """The vocabulary of a resident model, worked out once and checked against its own decoding.

    Raises:
        UserError: The bytes of its tokens can't be worked out.
    """
    if resident not in _KNOWN:
        control = resident.control_ids  # a token that ends the text can't stand for its name too
        texts = [None if i in control else text for i, text in enumerate(token_texts(resident))]
        made = Vocabulary(texts, tuple(sorted(resident.eos_ids)))
        _check(resident, made)
        _KNOWN[resident] = made
    return _KNOWN[resident]


def token_texts(resident: Resident) -> list[bytes | None]:
    """The bytes of each token that the model gives a logit of; None for special and unknown ones.

    Raises:
        UserError: The bytes of its tokens can't be worked out.
    """
    texts = token_bytes(resident.tokenizer)[: resident.columns]
    return texts + [None] * (resident.columns - len(texts))


def _check(resident: Resident, made: Vocabulary) -> None:
    anchor = resident.continuation_ids("a")
    for probe in _PROBES:
        ids = resident.continuation_ids(probe)
        parts = [made.texts[i] if i < len(made.texts) else None for i in ids]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts) and resident.decode(anchor, ids) != b"".join(known).decode("utf-8"):
            raise UserError(
                f"The bytes of the tokens of {resident.name} can't be worked out: {probe!r} is written as "
                f"{resident.decode(anchor, ids)!r} and not {b''.join(known)!r}; use another model for token "
                "pools."
            )


def drops_first_space(resident: Resident, made: Vocabulary, prefix: Sequence[int]) -> bool:
    """Whether a space at the start of what follows a prefix is not shown (a prefix of special tokens)."""
    for token, text in enumerate(made.texts):
        if text is not None and len(text) > 1 and text.startswith(b" ") and text[1:].isalpha():
            return not resident.decode(prefix, [token]).startswith(" ")
    return False
