"""The suffix automaton of a text (Blumer et al. 1985), built byte by byte, with dicts and no tricks."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class State:
    """What ends at the same places.

    Attributes:
        length: Length of the longest text that leads here.
        link: The state of its longest suffix that ends at more places; None for the root.
        first: Where the first occurrence ends, counted in bytes; 0 for the root.
        count: How many places it ends at.
        to: Next state by byte.
    """

    length: int
    link: int | None
    first: int
    count: int
    to: dict[int, int] = field(default_factory=dict)


class SuffixAutomaton:
    """Accepts the substrings of a text and nothing else; state 0 is the root."""

    def __init__(self, text: bytes) -> None:
        self.states = [State(0, None, 0, 0)]
        last = 0
        for byte in text:
            last = self._extend(last, byte)
        for state in sorted(self.states[1:], key=lambda s: -s.length):
            assert state.link is not None
            self.states[state.link].count += state.count

    def _extend(self, last: int, byte: int) -> int:
        length = self.states[last].length + 1
        self.states.append(State(length, 0, length, 1))
        new = len(self.states) - 1
        at: int | None = last
        while at is not None and byte not in self.states[at].to:
            self.states[at].to[byte] = new
            at = self.states[at].link
        if at is not None:
            self.states[new].link = self._with_length(at, byte)
        return new

    def _with_length(self, at: int, byte: int) -> int:
        """The state behind `at` whose longest text is one byte longer than that of `at`, maybe split off."""
        found = self.states[at].to[byte]
        length = self.states[at].length + 1
        if self.states[found].length == length:
            return found
        old = self.states[found]
        self.states.append(State(length, old.link, old.first, 0, dict(old.to)))
        clone = old.link = len(self.states) - 1
        up: int | None = at
        while up is not None and self.states[up].to.get(byte) == found:
            self.states[up].to[byte] = clone
            up = self.states[up].link
        return clone

    def after(self, text: bytes) -> State | None:
        """The state behind a text; None if it is no substring."""
        at = 0
        for byte in text:
            if byte not in self.states[at].to:
                return None
            at = self.states[at].to[byte]
        return self.states[at]

    @property
    def transitions(self) -> int:
        """How many there are."""
        return sum(len(state.to) for state in self.states)

    @property
    def substrings(self) -> int:
        """How many different ones that are not empty."""
        return sum(s.length - self.states[s.link].length for s in self.states if s.link is not None)
