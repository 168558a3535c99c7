"""Label sets: exactly one of a few texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dipole.files.schema import Field, Items, Optional, Text
from dipole.interventions.pools.automaton import AutomatonLanguage, Masks, State, run
from dipole.interventions.pools.language import PlainLanguage, opens_with_space
from dipole.interventions.pools.sorted_texts import Bytes, SortedTexts, sort_texts
from dipole.interventions.pools.vocabulary import Ints, Vocabulary
from dipole.types import UserError


@dataclass(eq=False)
class LabelAutomaton:
    """Exactly one of some texts. A state is (first, behind last, depth): an interval of the sorted texts.

    Attributes:
        texts: The texts.
        good: `(bytes,)` whether the tokens of a vocabulary can write the rest from each place on; None where
            every byte is a token, so that they always can.
    """

    texts: SortedTexts
    good: NDArray[np.bool_] | None = None

    @property
    def root(self) -> State:
        """Nothing written yet."""
        return (0, len(self.texts), 0)

    def step(self, states: Ints, byte: Bytes) -> Ints:
        """States after one more byte each."""
        low, high = self.texts.narrow(states[:, 0], states[:, 1], states[:, 2], byte)
        after = np.stack([low, high, states[:, 2] + 1], axis=1)
        after[low >= high, 0] = -1
        return after

    def may_end(self, state: State) -> bool:
        """Whether a text ends here; it would be the first of its interval, as 0 sorts before all."""
        return bool(self.texts.data[int(self.texts.starts[state[0]]) + state[2]] == 0)

    def cuts(self, before: State, after: Ints) -> Ints:
        """None."""
        del before
        return np.zeros(len(after), dtype=np.int64)

    def settles(self, states: Ints) -> NDArray[np.bool_]:
        """Whether a token may end in each state: some text can be completed with whole tokens from there."""
        if self.good is None:
            return np.ones(len(states), dtype=bool)
        places = [self.texts.starts[low:high] + depth for low, high, depth in states.tolist()]
        return np.array([bool(self.good[place].any()) for place in places], dtype=bool)

    def behind(self, prompt: str) -> State | None:
        """The root, or the state behind the space that stands before each text."""
        return self.root if opens_with_space(prompt) else run(self, self.root, b" ")


def completable(texts: SortedTexts, vocabulary: Vocabulary) -> NDArray[np.bool_]:
    """From which bytes on tokens can write a text to its end, `(bytes,)`; by recursion from the ends."""
    data = texts.data.tobytes()
    tokens = {text for text in vocabulary.texts if text}
    longest = max(map(len, tokens), default=0)
    good = np.zeros(len(data), dtype=bool)
    for at in range(len(data) - 1, -1, -1):
        end = data.index(0, at)
        good[at] = at == end or any(
            good[k] and data[at:k] in tokens for k in range(at + 1, min(end, at + longest) + 1)
        )
    return good


@dataclass(frozen=True)
class Labels(PlainLanguage, AutomatonLanguage):
    """One of some labels and nothing else, in any of its tokenisations.

    A label has a space before it, unless the prompt is empty or ends in a blank or an opening sign. The
    end-of-text token is what tells a label from a longer one that begins with it.

    Attributes:
        labels: What may be said.
        terminator: Text behind every label, such as a full stop.
    """

    labels: tuple[str, ...]
    terminator: str = ""

    type: ClassVar[str] = "labels"
    ends: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, Field]] = {"labels": Items(Text()), "terminator": Optional(Text(), "")}

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        object.__setattr__(self, "labels", tuple(label.strip() for label in self.labels))
        if not self.labels:
            raise UserError("The token pool is empty, so nothing could be said; give at least one label.")
        for index, label in enumerate(self.labels):
            if not label or "\0" in label:
                raise UserError(
                    f"Label {index + 1} of {len(self.labels)} is empty; remove it or write it out."
                )
            if label in self.labels[:index]:
                raise UserError(f"The label {label!r} is given twice; remove one of the two.")

    def texts(self, prompt: str) -> list[str]:
        """What may follow a prompt, in the order of the labels."""
        lead = " " if opens_with_space(prompt) else ""
        return [lead + label + self.terminator for label in self.labels]

    @cached_property
    def _sorted(self) -> SortedTexts:
        return sort_texts([f" {label}{self.terminator}".encode() for label in self.labels])

    def masks(self, vocabulary: Vocabulary, name: str) -> Masks:
        """What the tokens of a vocabulary can write.

        Raises:
            UserError: The tokenizer can't write one of the labels.
        """
        return Masks(self._automaton(vocabulary, name), vocabulary)

    def _automaton(self, vocabulary: Vocabulary, name: str) -> LabelAutomaton:
        if not vocabulary.unwritable(" " + "".join(self.labels) + self.terminator):
            return LabelAutomaton(self._sorted)
        good = completable(self._sorted, vocabulary)
        for label in self.labels:
            low, _ = self._sorted.find(f" {label}{self.terminator}".encode())
            if not good[self._sorted.starts[low]]:
                raise UserError(
                    f"The tokenizer of {name} can't write the label {label!r}; use other words, or a model "
                    "whose tokenizer covers every byte."
                )
        return LabelAutomaton(self._sorted, good)
