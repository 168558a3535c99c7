"""Text of concepts: what counts as text, when two wordings are the same, and where a mention stands."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from dipole.schema import shown
from dipole.types import UserError


def text_of(value: Any, where: str) -> str:
    """The value, if it is text that UTF-8 can hold; `where` names it in the error.

    Raises:
        UserError: It is not.
    """
    if not isinstance(value, str):
        raise UserError(f"`{where}` must be text, and is {shown(value)}.")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise UserError(f"`{where}` is not valid Unicode text ({value!r}); give it as UTF-8.") from None
    return value


def texts_of(value: Any, where: str) -> tuple[str, ...]:
    """The values, if they are a list or tuple of texts; `where` names them in the error.

    Raises:
        UserError: They are not.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise UserError(f'`{where}` must be a list of texts, and is {shown(value)}; write ["…", "…"].')
    return tuple(text_of(item, where) for item in value)


def normalized(text: str) -> str:
    """Letters and digits alone, case folded: equal for texts that differ in case, spaces or punctuation.

    A text of punctuation alone, such as `:)`, stands for itself.
    """
    kept = "".join(c for c in text.casefold() if c.isalnum())
    return kept or text.strip()


def stem(mention: str) -> str:
    """A mention without the differences that matching forgives: equal stems match the same words."""
    words = _words(mention)
    return "".join([*words[:-1], *_singulars(words[-1])[:1]]) if words else ""


@lru_cache(maxsize=4096)
def mention_pattern(mention: str) -> re.Pattern[str]:
    """A pattern that finds a mention as whole words, in any case, singular or plural.

    The words of a mention may be written with spaces, with hyphens or as one: `paper clip` also finds
    "paper clips", "paperclips" and "Paper-Clips". Irregular plurals (mice) need a mention of their own.
    """
    words = _words(mention)
    heads = [re.escape(word) for word in words[:-1]]
    forms = sorted(
        {f for s in _singulars(words[-1]) for f in _plurals(s)} | {words[-1]}, key=len, reverse=True
    )
    tail = "(?:" + "|".join(re.escape(form) for form in forms) + ")"
    return re.compile(r"(?<!\w)" + r"[\s\-]*".join([*heads, tail]) + r"(?!\w)", re.IGNORECASE)


def _words(mention: str) -> list[str]:
    return [word for word in re.split(r"[\s\-]+", mention.casefold()) if word]


def _singulars(word: str) -> list[str]:
    """What the word may be the plural of, the likeliest first; itself where it looks singular."""
    if len(word) > 4 and word.endswith("ies"):
        return [word[:-3] + "y", word[:-1]]
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes", "zes")):
        return [word[:-2], word[:-1]]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return [word[:-1]]
    return [word]


def _plurals(word: str) -> set[str]:
    if len(word) > 2 and word.endswith("y") and word[-2] not in "aeiou":
        return {word, word[:-1] + "ies"}
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return {word, word + "es"}
    return {word, word + "s"}
