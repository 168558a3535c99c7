"""Quotes: every word is a substring of a source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dipole.files.schema import Field, Items, Maybe, Number, Optional, Text, Whole
from dipole.interventions.pools.automaton import AutomatonLanguage, Masks, State, run
from dipole.interventions.pools.language import opens_with_space, require_writable
from dipole.interventions.pools.sorted_texts import Bytes
from dipole.interventions.pools.sources import Document, Segment, Sources
from dipole.interventions.pools.vocabulary import Ints, Vocabulary
from dipole.tensors import Wanted
from dipole.types import UserError

_TEXT, _LEAD, _QUOTE, _ONLY_MARK = 0, 1, 2, 3
_SPACE = ord(" ")


@dataclass(eq=False)
class QuoteAutomaton:
    """Quotes of sources, one or several with marks between or around them.

    A state is (mode, first, behind last, depth, bytes of a mark so far, quotes begun in this token). Inside a
    quote the closing mark is followed beside it: the sources that it would go on in may share its first bytes
    (a blank, or the first bytes of a curly sign). No quote contains a mark, so once the mark is complete the
    quote is over.

    Attributes:
        sources: What may be quoted.
        opening: Mark that opens a quote in free text; empty where there is none but quotes.
        closing: Mark that ends a quote; empty where nothing comes after the first.
    """

    sources: Sources
    opening: bytes = b""
    closing: bytes = b""

    @property
    def root(self) -> State:
        """The start: free text, or a quote."""
        return (_TEXT if self.opening else _QUOTE, 0, len(self.sources.quotable), 0, 0, 0)

    def step(self, states: Ints, byte: Bytes) -> Ints:
        """States after one more byte each."""
        after = states.copy()
        mode = states[:, 0]
        free = np.flatnonzero(mode == _TEXT)
        if free.size:
            after[free] = self._in_text(states[free], byte[free])
        lead = mode == _LEAD
        after[lead, 0] = np.where(byte[lead] == _SPACE, _QUOTE, -1)
        rest = np.flatnonzero((mode != _TEXT) & ~lead)
        if rest.size:
            after[rest] = self._in_quote(states[rest], byte[rest])
        return after

    def _in_text(self, states: Ints, byte: Bytes) -> Ints:
        after = states.copy()
        after[:, 4] = self._progress[states[:, 4], byte]
        opened = after[:, 4] == len(self.opening)
        after[opened, :5] = (_QUOTE, 0, len(self.sources.quotable), 0, 0)
        after[opened, 5] += 1
        return after

    def _in_quote(self, states: Ints, byte: Bytes) -> Ints:
        after = states.copy()
        low, high = self.sources.quotable.narrow(states[:, 1], states[:, 2], states[:, 3], byte)
        quoting = low < high
        marked = self._mark(states, byte) if self.closing else np.zeros(len(states), dtype=np.int64)
        after[:, 0] = np.where(quoting, _QUOTE, np.where(marked > 0, _ONLY_MARK, -1))
        after[:, 1], after[:, 2], after[:, 3], after[:, 4] = low, high, states[:, 3] + 1, marked
        after[after[:, 0] == _ONLY_MARK, 1:4] = 0
        closed = (marked > 0) & (marked == len(self.closing))
        if self.opening:
            after[closed, :5] = self.root[:5]
        else:
            after[closed, :5] = (_QUOTE, 0, len(self.sources.quotable), 0, 0)
            after[closed, 5] += 1
        return after

    def _mark(self, states: Ints, byte: Bytes) -> Ints:
        """Bytes of the closing mark after one more byte each."""
        mark = np.frombuffer(self.closing + b"\0", dtype=np.uint8)
        going = (states[:, 4] > 0) & (mark[states[:, 4]] == byte)
        marked = np.where(going, states[:, 4] + 1, 0)
        fresh = np.flatnonzero(~going & (byte == mark[0]) & (states[:, 0] == _QUOTE))
        if fresh.size:
            may = self.sources.whole_any(states[fresh, 1], states[fresh, 2], states[fresh, 3])
            marked[fresh[may]] = 1
        return marked

    @cached_property
    def _progress(self) -> Ints:
        """How much of the opening mark stands at the end of the text, by how much did and the next byte."""
        mark = self.opening
        table = np.zeros((len(mark) + 1, 256), dtype=np.int64)
        for have in range(len(mark)):
            for byte in range(256):
                text = mark[:have] + bytes([byte])
                table[have, byte] = next(k for k in range(have + 1, -1, -1) if text.endswith(mark[:k]))
        return table

    def may_end(self, state: State) -> bool:
        """Behind a whole quote, or in free text."""
        mode, low, high, depth = state[:4]
        if mode == _QUOTE and not self.opening:
            return len(self.sources.whole(low, high, depth)) > 0
        return mode == _TEXT

    def settles(self, states: Ints) -> NDArray[np.bool_]:
        """Everywhere: the tokenizer is known to cover the sources."""
        return np.ones(len(states), dtype=bool)

    def cuts(self, before: State, after: Ints) -> Ints:
        """Quotes begun between two states, the first of a text of quotes left out."""
        return after[:, 5] - before[5]

    def behind(self, prompt: str) -> State:
        """The state behind a prompt: inside a quote if the prompt has opened one that can go on.

        Where there is no free text, a space stands before the first quote if the prompt wants one.
        """
        if not self.opening:
            return (_LEAD, *self.root[1:]) if opens_with_space(prompt) else self.root
        opened = prompt.rfind(self.opening.decode())
        if opened > prompt.rfind(self.closing.decode()):
            within = run(self, self.root, prompt[opened:].encode("utf-8", "replace"))
            if within is not None:
                return (*within[:5], 0)
        return self.root


@dataclass(frozen=True)
class Quotes(AutomatonLanguage):
    """Text made of quotes.

    Without `separator` and `marks` it is one quote. With a separator it is quotes with the separator between
    them. With marks it is free text in which whatever stands between the marks is a quote.

    Attributes:
        documents: What is quoted.
        min_words: Words that each quote has at least.
        separator: Stands between two quotes, such as ` […] `.
        marks: What opens and what closes a quote in free text, such as `“` and `”`.
        cut_cost: Nats that each quote begun behind the first costs its first token (with marks: each quote).
    """

    documents: tuple[Document, ...]
    min_words: int = 3
    separator: str = ""
    marks: tuple[str, str] | None = None
    cut_cost: float = 0.0

    type: ClassVar[str] = "quotes"
    ends: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, Field]] = {
        "documents": Items(Text(), 1),
        "min_words": Optional(Whole(1), 3),
        "separator": Optional(Text(), ""),
        "marks": Optional(Maybe(Items(Text(), 2, 2))),
        "cut_cost": Optional(Number(), 0.0),
    }

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.min_words < 1:
            raise UserError(f"min_words must be at least 1, and is {self.min_words}.")
        if self.marks is not None and (self.separator or not all(self.marks)):
            raise UserError("Quotes have a separator or two marks around each, not both; leave one out.")
        if not np.isfinite(self.cut_cost):
            raise UserError(f"cut_cost must be a finite number of nats, and is {self.cut_cost}.")
        _ = self.sources.documents

    @cached_property
    def sources(self) -> Sources:
        """The documents with their word boundaries; sorted when first needed."""
        breaks = self.marks or ((self.separator,) if self.separator else ())
        return Sources(self.documents, self.min_words, tuple(breaks))

    @cached_property
    def automaton(self) -> QuoteAutomaton:
        """The automaton."""
        if self.marks is not None:
            return QuoteAutomaton(self.sources, self.marks[0].encode(), self.marks[1].encode())
        return QuoteAutomaton(self.sources, closing=self.separator.encode())

    def masks(self, vocabulary: Vocabulary, name: str) -> Masks:
        """What the tokens of a vocabulary can write.

        Raises:
            UserError: The tokenizer can't write the sources, or they have nothing to quote.
        """
        for text in (self.sources.characters, self.separator, *(self.marks or ())):
            require_writable(vocabulary, text, "what may be quoted", name)
        return _SettledMasks(self.automaton, vocabulary)

    def attribute(self, text: str, prompt: str = "") -> list[Segment]:
        """Where each quote of a text stands in its source; `segment.text == source[start:end]`.

        Args:
            text: A completion that this language allowed. What its token budget cut short ends in a segment
                that is not complete.
            prompt: What it continues; needed only where the prompt opens a quote with a mark.
        """
        if self.marks is not None:
            opened = prompt.rfind(self.marks[0])
            text = prompt[opened:] + text if opened > prompt.rfind(self.marks[1]) else text
            return [self._attribute(part, closed) for part, closed in _between(text, *self.marks)]
        text = text.removeprefix(" ")
        parts = text.split(self.separator) if self.separator else [text]
        return [self._attribute(part, k + 1 < len(parts)) for k, part in enumerate(parts) if part]

    def _attribute(self, part: str, closed: bool) -> Segment:
        found = self.sources.attribute(part)
        closing = self.marks[1] if self.marks else self.separator
        if found.document is None and not closed:
            # The end was cut inside a character, or inside the mark.
            shown = part.rstrip("\ufffd")
            for k in range(max(1, len(closing))):
                if shown.endswith(closing[:k]) and (core := shown[: len(shown) - k]):
                    found = self.sources.attribute(core)
                    if found.document is not None:
                        return Segment(core, found.document, found.start, found.end)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain data; the documents' texts are tensors."""
        return {
            "documents": [d.name for d in self.documents],
            "min_words": self.min_words,
            "separator": self.separator,
            "marks": None if self.marks is None else list(self.marks),
            "cut_cost": self.cut_cost,
        }

    def tensors(self) -> dict[str, Tensor]:
        """The documents in UTF-8."""
        return {
            f"document_{k}": torch.frombuffer(bytearray().join((d.data, b"\0")), dtype=torch.uint8)
            for k, d in enumerate(self.documents)
        }

    @classmethod
    def wanted(cls, data: Mapping[str, Any]) -> dict[str, Wanted]:
        """One text for each document."""
        return {f"document_{k}": Wanted("byte", (f"bytes_{k}",)) for k in range(len(data["documents"]))}

    @classmethod
    def from_saved(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The quotes again."""
        texts = [tensors[name].numpy()[:-1].tobytes() for name in cls.wanted(data)]
        documents = tuple(Document(n, t) for n, t in zip(data["documents"], texts, strict=True))
        return cls(documents, data["min_words"], data["separator"], data["marks"], data["cut_cost"])


class _SettledMasks(Masks):
    """Masks over states without their count of quotes, so that equal places share one mask."""

    def after(self, state: State, first: bool, token: int) -> State | None:
        """The state behind a token, its count of quotes back at 0."""
        found = super().after(state, first, token)
        return None if found is None or found[0] < 0 else (*found[:5], 0)


def _between(text: str, opening: str, closing: str) -> list[tuple[str, bool]]:
    """What stands between marks, and whether it is closed."""
    found, at = [], text.find(opening)
    while at >= 0:
        at += len(opening)
        end = text.find(closing, at)
        if end < 0:
            found.append((text[at:], False))
            break
        found.append((text[at:end], True))
        at = text.find(opening, end + len(closing))
    return [(part, closed) for part, closed in found if part]
