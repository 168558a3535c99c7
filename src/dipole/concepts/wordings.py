"""More wordings of a prompt that names both sides, so that what is learned does not hang on one of them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from dipole.concepts.dipole import Mentions
from dipole.concepts.mentions import spans

# In each the side that the asker names first is another's turn; {a} is named first in the prompt, {b} second.
_ENGLISH = (
    "If I had to choose between {b} and {a}, I'd pick",
    "Between {a} and {b}, my choice is",
    "I was asked whether I like {b} or {a} more, and I said",
    "Q: Do you prefer {a} or {b}?\nA: I prefer",
    "Student: Should I use {b} or {a}?\nTeacher: You should use",
)
_CHAT = (
    "Which do you prefer, {b} or {a}?",
    "Would you rather have {a} or {b}?",
    "{b} or {a}: which is better?",
    "Pick one: {a} or {b}.",
)
_WORDS = re.compile(r"\b(and|or|nor|versus|vs|than)\b", re.IGNORECASE)


def wordings(prompt: str, mentions: Mentions, chat: bool = False) -> tuple[str, ...]:
    """Other ways of asking for the same choice: the sides exchanged, and for an English prompt some more.

    Args:
        prompt: Names each side once, in the spelling that is to be used.
        mentions: Words of the sides.
        chat: Whether the prompt is what a user says, and not the beginning of a text.

    Returns:
        The prompt itself is not among them; nothing where it does not name each side exactly once.
    """
    found = spans(prompt, (mentions.claim, mentions.against))
    if sorted(span.side for span in found) != [0, 1]:
        return ()
    first, second = found
    a, b = (prompt[span.start : span.end] for span in found)
    inside = a if first.start else _inside(a, (mentions.claim, mentions.against)[first.side])
    made = [prompt[: first.start] + b + prompt[first.end : second.start] + inside + prompt[second.end :]]
    if prompt.isascii() and _WORDS.search(prompt[first.end : second.start]):
        made += [form.format(a=inside, b=b) for form in (_CHAT if chat else _ENGLISH)]
    texts = dict.fromkeys(text[:1].upper() + text[1:] for text in made)
    return tuple(text for text in texts if text != prompt)


def _inside(word: str, mentions: Sequence[str]) -> str:
    """A word from the beginning of a sentence as it stands inside one: its capital may be that of a name."""
    return word[:1].lower() + word[1:] if all(m[:1].islower() for m in mentions) else word
