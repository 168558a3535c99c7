"""Text of concepts: what counts as text, and when two wordings are the same."""

from __future__ import annotations

import re
from typing import Any

from dipole.files.schema import shown
from dipole.types import UserError
from dipole.words import canonical

_DASH = re.compile(r"(?<=\s)(?:--+|[–—]+)(?=\s)")
_STOPS = " .!。！．｡…।။"


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


def same_text(text: str) -> str:
    """Equal for two wordings that differ in letter case, blanks or spelling (`canonical`) alone."""
    return " ".join(canonical(text).replace("\u200b", " ").split())


def same_pole(text: str) -> str:
    """Equal for two poles that say the same: as `same_text`, with dashes and a final stop left out.

    Every other sign counts: `5` is not `-5`, `C` not `C++`, and a question no statement.
    """
    found = same_text(_DASH.sub(" ", text))
    return found.rstrip(_STOPS) or found
