"""Titles inside Markdown links: free text, but between brackets nothing but a title and its target."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dipole.files.plain_text import lines_of, read_plain_text
from dipole.files.schema import Field, Whole
from dipole.interventions.pools.automaton import AutomatonLanguage, Masks, State, run
from dipole.interventions.pools.language import require_writable
from dipole.interventions.pools.sorted_texts import Bytes, SortedTexts, sort_texts
from dipole.interventions.pools.vocabulary import Ints, Vocabulary
from dipole.tensors import Wanted
from dipole.types import UserError

_TEXT, _ESCAPED, _BANG, _LINK = 0, 1, 2, 3
_OPEN, _ESCAPE, _EXCLAMATION = ord("["), ord("\\"), ord("!")
_CLOSED = re.compile(rb"[^\[\]\0]+\](?:\([^\s\0]+\))?")
_BLANK = re.compile(rb"[\s\0]")


@dataclass(eq=False)
class LinkAutomaton:
    r"""Free text in which `[` opens a link that must be one of some texts, such as `Title](target)`.

    A bracket behind `!` (an image) or an odd number of `\` opens nothing. A state is (mode, first, behind
    last, depth), the last three an interval of the sorted texts.

    Attributes:
        links: What may follow the bracket, none the beginning of another.
    """

    links: SortedTexts

    @property
    def root(self) -> State:
        """Free text."""
        return (_TEXT, 0, 0, 0)

    def step(self, states: Ints, byte: Bytes) -> Ints:
        """States after one more byte each."""
        mode = states[:, 0]
        after = np.zeros_like(states)
        after[(byte == _ESCAPE) & (mode != _ESCAPED), 0] = _ESCAPED
        after[(byte == _EXCLAMATION) & (mode != _ESCAPED), 0] = _BANG
        after[(byte == _OPEN) & (mode == _TEXT)] = (_LINK, 0, len(self.links), 0)
        inside = np.flatnonzero(mode == _LINK)
        if inside.size:
            after[inside] = self._in_link(states[inside], byte[inside])
        return after

    def _in_link(self, states: Ints, byte: Bytes) -> Ints:
        low, high = self.links.narrow(states[:, 1], states[:, 2], states[:, 3], byte)
        depth = states[:, 3] + 1
        after = np.stack([np.full_like(low, _LINK), low, high, depth], axis=1)
        dead = low >= high
        after[dead, 0] = -1
        live = np.flatnonzero(~dead)
        done = self.links.data[self.links.starts[low[live]] + depth[live]] == 0
        after[live[done]] = self.root
        return after

    def may_end(self, state: State) -> bool:
        """Anywhere but inside a link."""
        return state[0] != _LINK

    def settles(self, states: Ints) -> NDArray[np.bool_]:
        """Everywhere: the tokenizer is known to cover the links."""
        return np.ones(len(states), dtype=bool)

    def cuts(self, before: State, after: Ints) -> Ints:
        """None."""
        del before
        return np.zeros(len(after), dtype=np.int64)

    def behind(self, prompt: str) -> State:
        """The state behind a prompt: inside a link if the prompt has opened one that can become a title."""
        opened = prompt.rfind("[")
        if opened >= 0:
            within = self._after_signs(prompt[:opened], prompt[opened:])
            if within is not None:
                return within
        return self._after_signs(prompt, "") or self.root

    def _after_signs(self, before: str, text: str) -> State | None:
        signs = before[len(before.rstrip("\\!")) :]
        return run(self, self.root, (signs + text).encode("utf-8", "replace"))


@dataclass(frozen=True)
class Titles(AutomatonLanguage):
    r"""Free text in which a link's text is a title and its target is the title's own.

    Attributes:
        links: What may stand behind `[`, each closed: `Title](target)` or `Title]`; sorted, in UTF-8.
    """

    links: tuple[bytes, ...]

    type: ClassVar[str] = "titles"
    ends: ClassVar[bool] = False
    fields: ClassVar[Mapping[str, Field]] = {"count": Whole(1)}

    def __post_init__(self) -> None:
        """Refuse an empty pool."""
        if not self.links:
            raise UserError("The token pool has no titles; give a file with at least one.")

    @cached_property
    def automaton(self) -> LinkAutomaton:
        """The automaton, built when it is first needed: about a second for a million titles."""
        return LinkAutomaton(sort_texts(self.links))

    def masks(self, vocabulary: Vocabulary, name: str) -> Masks:
        """What the tokens of a vocabulary can write.

        Raises:
            UserError: The tokenizer can't write one of the titles.
        """
        if not vocabulary.single_bytes[np.unique(self.automaton.links.data)[1:]].all():
            require_writable(vocabulary, b"".join(self.links).decode(), "a title", name)
        return Masks(self.automaton, vocabulary)

    def to_dict(self) -> dict[str, Any]:
        """How many there are; they themselves are a tensor."""
        return {"count": len(self.links)}

    def tensors(self) -> dict[str, Tensor]:
        """The links, one a line."""
        return {"links": torch.from_numpy(np.frombuffer(b"\n".join(self.links), dtype=np.uint8).copy())}

    @classmethod
    def wanted(cls, data: Mapping[str, Any]) -> dict[str, Wanted]:
        """The links."""
        del data
        return {"links": Wanted("byte", ("bytes",))}

    @classmethod
    def from_saved(cls, data: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Self:
        """The titles again."""
        written = tensors["links"].numpy().tobytes()
        written.decode("utf-8")
        links = tuple(sorted(written.split(b"\n")))
        if len(links) != data["count"] or not all(_CLOSED.fullmatch(link) for link in links):
            raise UserError(
                f"The saved titles are damaged: {data['count']} closed links are wanted, one a line, and "
                f"there are {len(links)} lines; fit the control again."
            )
        for one, other in itertools.pairwise(links):
            if other.startswith(one):
                raise UserError(f"The saved title {one.decode()!r} begins another; fit the control again.")
        return cls(links)


def read_titles(path: str | Path) -> Titles:
    """Titles from a file with one a line, each with its target behind a tab if it has one.

    Blank lines are left out, and a line that stands twice counts once.

    Raises:
        UserError: The file can't be read, holds no title, or one that can't stand in a Markdown link.
    """
    wanted = "a text file in UTF-8 with one title a line, a tab and its link target behind it if it has one"
    told = read_plain_text(path, "The titles", wanted, most=1 << 30)
    lines = {line.encode() for line in lines_of(told) if line.strip()}
    if not lines:
        raise UserError(f"{path} holds no title, so nothing could stand in a link; give one title a line.")
    links: list[bytes] = []
    for line in lines:
        title, tab, target = line.partition(b"\t")
        title, target = title.strip(), target.strip()
        _check(path, line, title, target if tab else None)
        links.append(title + b"](" + target + b")" if tab else title + b"]")
    links.sort()
    for one, other in itertools.pairwise(links):  # what shares a title stands side by side
        if one.startswith(title := other[: other.index(b"]") + 1]):
            raise UserError(
                f"The title {title[:-1].decode()!r} stands twice in {path}, with two targets; keep one."
            )
    return Titles(tuple(links))


def _check(path: str | Path, line: bytes, title: bytes, target: bytes | None) -> None:
    def refuse(problem: str) -> UserError:
        return UserError(f"The line {line.decode()!r} of {path} {problem}.")

    if not title:
        raise refuse("has no title before its tab; write one or remove the line")
    if b"[" in title or b"]" in title or b"\0" in title:
        raise refuse("has a bracket in its title, which would end the link; remove it")
    if target is not None and (not target or _BLANK.search(target) or not _balanced(target)):
        raise refuse(
            "needs behind its tab a link target without blanks, its parentheses in pairs; write %20 and %28"
        )


def _balanced(target: bytes) -> bool:
    if b"(" not in target and b")" not in target:
        return True
    depth = 0
    for byte in target:
        depth += (byte == 40) - (byte == 41)
        if depth < 0:
            return False
    return depth == 0
