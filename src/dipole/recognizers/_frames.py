"""What stands around a text before a statement is read, and around a statement before a text is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

from dipole.protocols import LM
from dipole.resident import Resident
from dipole.types import UserError

Template = Literal["plain", "quoted", "chat"]


class Opening(NamedTuple):
    """What is read before the rest of a frame.

    Attributes:
        ids: Token ids.
        length: Tokens of the text in it, before anything was left out.
        cut: How many of them are left out at its beginning.
    """

    ids: list[int]
    length: int
    cut: int


@dataclass(frozen=True)
class Frame:
    """Words around something that is said, and then the place where something else is read.

    What is said is tokenised together with its quotation marks, as a model has seen them (a stop and a mark
    behind it are often one token). What is read is tokenised apart and joined as ids: nothing merges there.

    Attributes:
        before: Stands before what is said.
        close: Stands right behind it.
        behind: Stands behind that, before what is read.
        lead: Begins what is read then, and is tokenised with it.
        chat: Whether all this is a turn of the user, and the assistant says what is read.
    """

    before: str = ""
    close: str = ""
    behind: str = ""
    lead: str = ""
    chat: bool = False

    def opening(self, resident: Resident, text: str, room: int | None = None) -> Opening:
        """The frame up to where a text is closed; its end is kept where there is no room for all.

        Where nothing stands before it nothing is left out here: `continuation_likelihoods` does it, and keeps
        a start token.

        Args:
            resident: Has the tokens.
            text: What is said.
            room: Tokens that the whole may have; None without bound.

        Raises:
            UserError: There is no room for the frame itself, or no chat template.
        """
        whole = text.rstrip()
        opened = self._opened(resident, whole)
        if not self.before or room is None or len(opened) <= room:
            return Opening(opened, len(opened), 0)
        kept = ids = resident.continuation_ids(whole)
        while kept and len(opened) > room:
            kept = kept[len(opened) - room :]
            opened = self._opened(resident, resident.decode([], kept))
        if not kept:
            raise UserError(
                f"The statements and the words around a text leave no room for it in the context of "
                f"{resident.name} ({resident.context_length} tokens); shorten them, or use template='plain'."
            )
        return Opening(opened, len(ids), len(ids) - len(kept))

    def rest(self, resident: Resident) -> list[int]:
        """Token ids of what stands between the opening and what is read."""
        return resident.continuation_ids(self.behind)

    def read(self, resident: Resident, text: str) -> list[int]:
        """Token ids of what is read."""
        return resident.continuation_ids(self.lead + text.strip())

    def _opened(self, resident: Resident, text: str) -> list[int]:
        whole = f"{self.before}{text}{self.close}"
        return resident.prompt_ids([], whole) if self.chat else resident.encode(whole)


class Frames(NamedTuple):
    """The two ways in which a text and a statement can follow one another.

    Attributes:
        text_first: The statement is read after the text: in the words of who says it, and of who denies it
            where there are such words. They open alike, so a text is read once for both.
        pole_first: The same with the text after the statement.
    """

    text_first: tuple[Frame, ...]
    pole_first: tuple[Frame, ...]


_SAME = Frame('Say the same in other words: "', '"', chat=True)

# Chosen among two dozen wordings on one half of persona axes (benchmarks/judges.py); docs/decisions.md has
# what was tried, and how it came out on the other half.
FRAMES: dict[Template, Frames] = {
    "plain": Frames((Frame(lead=" "),), (Frame(lead=" "),)),
    "quoted": Frames(
        (
            Frame('A person said: "', '"\n', 'This means that the person thinks: "'),
            Frame('A person said: "', '"\n', 'Another person disagrees and thinks: "'),
        ),
        (
            Frame('Someone who says "', '"', ' would also say "'),
            Frame('Someone who disagrees with "', '"', ' would say "'),
        ),
    ),
    "chat": Frames((_SAME,), (_SAME,)),
}


def known_template(lm: LM, texts: Sequence[str]) -> Template:
    """`quoted` where the LM finds the words behind the quotation likelier than a guess, else `plain`.

    A model of a small world has never seen such words, and what it reads behind them means nothing: the
    bundled LMs take them for less likely than a token drawn at random (11 to 15 nats a token, where the
    logarithm of the vocabulary is 7), SmolLM2-135M for 3 to 5 of 11.

    Args:
        lm: The LM; it is asked without interventions.
        texts: Some to quote.
    """
    resident = lm.resident
    for frame in (frame for frames in FRAMES["quoted"] for frame in frames):
        rest = frame.rest(resident)
        openings = [frame.opening(resident, text).ids for text in texts]
        if any(len(ids) + len(rest) > (resident.context_length or math.inf) for ids in openings):
            return "plain"
        found = torch.cat(lm.base.logprobs(openings, [rest] * len(openings)))
        if not -float(found.double().mean()) < math.log(resident.columns):
            return "plain"
    return "quoted"


def frames_of(template: Template, resident: Resident) -> Frames:
    """The frames of a template.

    Raises:
        UserError: There is no such template, or the model has none for chats.
    """
    if template not in FRAMES:
        raise UserError(f"template must be {', '.join(FRAMES)}, and is {template!r}.")
    if template == "chat" and not resident.chat:
        raise UserError(
            f"{resident.name} reads no chats (its tokenizer has no chat template, or it was loaded for plain "
            "text), and template='chat' asks through one; use template='quoted'."
        )
    return FRAMES[template]
