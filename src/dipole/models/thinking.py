"""What a model thinks before it answers is no part of its reply."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dipole.models.encoding import Encoder

_MARKS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
_LEADS = re.compile("|".join(rf"\s*{re.escape(a)}.*?(?:{re.escape(b)}\s*|$)" for a, b in _MARKS), re.DOTALL)


def answer(encoder: Encoder, prefix: Sequence[int], ids: Sequence[int]) -> tuple[Sequence[int], bool]:
    """The tokens of a reply behind its thinking, where the marks of that are tokens.

    Thinking that has begun, in the reply or at the end of what the template writes, and has not ended is
    the whole reply: nothing has been said yet.

    Args:
        encoder: Tokenizer of the model.
        prefix: What the model read.
        ids: What it wrote.

    Returns:
        The tokens, and whether there was thinking.
    """
    for begin, end in _MARKS:
        opening, closing = _token(encoder, begin), _token(encoder, end)
        if closing is None:
            continue
        if closing in ids:
            return ids[len(ids) - [*reversed(ids)].index(closing) :], True
        if opening is not None and (opening in ids or _last(prefix, opening, closing) == opening):
            return ids[:0], True
    return ids, False


def answer_text(text: str) -> str:
    """The same of a text that begins with marks spelled in letters."""
    found = _LEADS.match(text)
    return text[found.end() :] if found else text


def _token(encoder: Encoder, name: str) -> int | None:
    """The token of that name that no text becomes, since what a user spells opens nothing."""
    found = encoder.tokenizer.get_vocab().get(name)
    return found if found in encoder.control else None


def _last(ids: Sequence[int], *wanted: int) -> int | None:
    return next((i for i in reversed(ids) if i in wanted), None)
