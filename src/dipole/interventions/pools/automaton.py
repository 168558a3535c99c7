"""Automata over bytes, and which tokens they allow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from dipole.interventions.pools.sorted_texts import Bytes
from dipole.interventions.pools.vocabulary import Ints, Trie, Vocabulary

State = tuple[int, ...]
Floats = NDArray[np.float32]
_EMPTY = np.zeros(0, dtype=np.int64)
_CACHED_BYTES = 1 << 26


class Automaton(Protocol):
    """A deterministic automaton over bytes; a state is a row of whole numbers.

    From each live state an end must be within reach, so that nobody who follows it gets stuck. A state whose
    first number is negative is dead.
    """

    def step(self, states: Ints, byte: Bytes) -> Ints:
        """States `(n, k)` after one more byte each, `(n,)`; dead ones have a negative first number."""
        ...

    def may_end(self, state: State) -> bool:
        """Whether the text may end here."""
        ...

    def settles(self, states: Ints) -> NDArray[np.bool_]:
        """Whether a token may end in each state `(n, k)`: whole tokens can go on from there to an end."""
        ...

    def cuts(self, before: State, after: Ints) -> Ints:
        """How many cuts to be paid for lie between a state and each of those after it, `(n,)`."""
        ...

    def behind(self, prompt: str) -> State | None:
        """The state of a text that begins right behind a prompt; None where nothing can."""
        ...


class Allowed(NamedTuple):
    """Which tokens may follow.

    Attributes:
        tokens: Token ids in ascending order: the allowed ones, or the forbidden ones if those are fewer.
        listed: Whether `tokens` are the allowed ones.
        costly: Allowed token ids that make a cut.
        cuts: How many cuts each of them makes.
    """

    tokens: Ints
    listed: bool
    costly: Ints = _EMPTY
    cuts: Ints = _EMPTY

    @property
    def empty(self) -> bool:
        """Whether nothing is allowed."""
        return self.listed and not len(self.tokens)


class _Entry(NamedTuple):
    allowed: Allowed
    reached: Ints | None  # the state behind each token, where the allowed ones are listed
    size: int


def reachable(trie: Trie, automaton: Automaton, state: State) -> tuple[Ints, Ints]:
    """Tokens whose bytes keep the automaton alive, and the states that they lead to.

    Walks the automaton and the trie together, all branches of one depth at a time.

    Returns:
        Token ids `(n,)` in ascending order, and states `(n, k)`.
    """
    nodes, states = np.zeros(1, dtype=np.int64), np.array([state], dtype=np.int64)
    tokens, ends = [_EMPTY], [states[:0]]
    while True:
        counts = trie.child_count[nodes]
        if not counts.any():
            break
        children = _ranges(trie.child_start[nodes], counts)
        states = automaton.step(np.repeat(states, counts, axis=0), trie.byte[children])
        alive = states[:, 0] >= 0
        nodes, states = children[alive], states[alive]
        held = trie.token_count[nodes]
        tokens.append(trie.tokens[_ranges(trie.token_start[nodes], held)])
        ends.append(np.repeat(states, held, axis=0))
    found = np.concatenate(tokens)
    order = np.argsort(found, kind="stable")
    return found[order], np.concatenate(ends)[order]


def _ranges(starts: Ints, counts: Ints) -> Ints:
    """The numbers start, start + 1, … of each range, one range after another."""
    before = np.cumsum(counts) - counts
    ranges: Ints = np.arange(int(counts.sum()), dtype=np.int64) + np.repeat(starts - before, counts)
    return ranges


@dataclass(eq=False)
class Masks:
    """The tokens that an automaton allows in each state, remembered up to 64 MiB.

    Attributes:
        automaton: The automaton.
        vocabulary: The tokens.
    """

    automaton: Automaton
    vocabulary: Vocabulary
    _entries: OrderedDict[tuple[State, bool], _Entry] = field(default_factory=OrderedDict)
    _held: int = 0

    def allowed(self, state: State, first: bool) -> Allowed:
        """Tokens that may follow a state; `first` where the next token's first space is dropped."""
        return self._entry(state, first).allowed

    def after(self, state: State, first: bool, token: int) -> State | None:
        """The state behind a token, or None if it is not allowed."""
        entry = self._entry(state, first)
        if entry.reached is not None:
            k = int(np.searchsorted(entry.allowed.tokens, token))
            if k == len(entry.allowed.tokens) or entry.allowed.tokens[k] != token:
                return None
            return tuple(entry.reached[k].tolist())
        texts = self.vocabulary.first_texts if first else self.vocabulary.texts
        text = texts[token] if token < len(texts) else None
        return run(self.automaton, state, text) if text else None

    def _entry(self, state: State, first: bool) -> _Entry:
        key = (state, first)
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        made = self._make(state, first)
        self._entries[key] = made
        self._held += made.size
        while self._held > _CACHED_BYTES and len(self._entries) > 1:
            self._held -= self._entries.popitem(last=False)[1].size
        return made

    def _make(self, state: State, first: bool) -> _Entry:
        trie = self.vocabulary.first_trie if first else self.vocabulary.trie
        tokens, reached = reachable(trie, self.automaton, state)
        settled = self.automaton.settles(reached)
        tokens, reached = tokens[settled], reached[settled]
        cuts = self.automaton.cuts(state, reached)
        costly = cuts > 0
        paid = (tokens[costly], cuts[costly])
        ending = np.array(self.vocabulary.eos_ids if self.automaton.may_end(state) else (), dtype=np.int64)
        total = len(self.vocabulary.texts)
        if len(tokens) <= total // 2:
            # Ends are found apart from the tokens that write something, so `reached` keeps to the latter.
            order = np.argsort(np.concatenate([tokens, ending]), kind="stable")
            listed = np.concatenate([tokens, ending])[order]
            behind = np.concatenate([reached, np.full((len(ending), reached.shape[1]), -1)])[order]
            return _Entry(Allowed(listed, True, *paid), behind, listed.nbytes + behind.nbytes)
        barred = np.ones(total, dtype=bool)
        barred[tokens] = False
        barred[ending] = False
        forbidden = np.flatnonzero(barred)
        return _Entry(Allowed(forbidden, False, *paid), None, forbidden.nbytes + paid[0].nbytes)


def run(automaton: Automaton, state: State, text: bytes) -> State | None:
    """The state behind a text, or None if it leaves the language."""
    states = np.array([state], dtype=np.int64)
    for byte in text:
        states = automaton.step(states, np.array([byte], dtype=np.uint8))
        if states[0, 0] < 0:
            return None
    return tuple(states[0].tolist())


class Walk(Protocol):
    """One row's way through a language; it goes on in place."""

    def allowed(self) -> Allowed:
        """Tokens that may follow."""
        ...

    def advance(self, token: int) -> None:
        """Take a token. One that ends a text, or that was not allowed, leaves only ends to follow."""
        ...

    def copy(self) -> Walk:
        """Another walk from the same place."""
        ...


@dataclass(eq=False)
class AutomatonWalk:
    """A walk through an automaton.

    Attributes:
        masks: The automaton with its vocabulary.
        state: Where it is; None behind the end.
        first: Whether the next token's first space is dropped.
    """

    masks: Masks
    state: State | None
    first: bool = False

    def allowed(self) -> Allowed:
        """Tokens that may follow."""
        if self.state is None:
            return only(self.masks.vocabulary.eos_ids)
        return self.masks.allowed(self.state, self.first)

    def advance(self, token: int) -> None:
        """Take a token."""
        if self.state is not None:
            after = self.masks.after(self.state, self.first, token)
            self.state = None if after is None or after[0] < 0 else after
            self.first = False

    def copy(self) -> AutomatonWalk:
        """Another walk from the same place."""
        return AutomatonWalk(self.masks, self.state, self.first)


class AutomatonLanguage(ABC):
    """A language that an automaton recognises; its masks are made once for each vocabulary."""

    @cached_property
    def _known(self) -> WeakKeyDictionary[Vocabulary, Masks]:
        return WeakKeyDictionary()

    def walks(self, vocabulary: Vocabulary, rows: Sequence[tuple[str, bool]], name: str) -> list[Walk]:
        """One walk for each row.

        Raises:
            UserError: The tokenizer can't write what the language holds.
        """
        if vocabulary not in self._known:
            self._known[vocabulary] = self.masks(vocabulary, name)
        masks = self._known[vocabulary]
        return [AutomatonWalk(masks, masks.automaton.behind(prompt), drops) for prompt, drops in rows]

    @abstractmethod
    def masks(self, vocabulary: Vocabulary, name: str) -> Masks:
        """What the tokens of a vocabulary can write.

        Raises:
            UserError: The tokenizer of that model can't write what the language holds.
        """


def only(tokens: Sequence[int]) -> Allowed:
    """Nothing but these tokens."""
    return Allowed(np.array(sorted(tokens), dtype=np.int64), True)
