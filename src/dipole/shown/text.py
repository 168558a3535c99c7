"""User text made safe to show, and the mentions in it that show which side it took."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from dipole.concepts.mentions import spans

Side = Literal["claim", "against"]
SIDES: tuple[Side, Side] = ("claim", "against")

NEWLINE = "↵"
_BREAKS = re.compile("\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")
_CONTROLS = re.compile("[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f]")
# Embeddings, overrides and isolates could reorder the text around them, so they are shown by name.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SURROGATES = re.compile("[\ud800-\udfff]")


class Piece(NamedTuple):
    """A stretch of text with the side that it speaks for; None for plain text."""

    text: str
    side: Side | None


def visible(text: str) -> str:
    """The text without anything that could disturb the page around it.

    Control characters become their pictures, direction overrides their code point in brackets, lone
    surrogates the replacement character. Line breaks stay, all as line feeds; tabs become spaces.
    """
    text = _BREAKS.sub("\n", text).replace("\t", " ")
    text = _CONTROLS.sub(lambda m: _picture(ord(m.group())), text)
    text = _BIDI.sub(lambda m: f"[U+{ord(m.group()):04X}]", text)
    return _SURROGATES.sub("\ufffd", text)


def _picture(code: int) -> str:
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else f"[U+{code:04X}]"


def one_line(text: str) -> str:
    """Visible text with its line breaks shown as a sign, without blanks at its ends."""
    return inline(text).strip()


def heading(label: str) -> str:
    """A label on one line, starting with a capital."""
    line = one_line(label)
    return line[:1].upper() + line[1:]


def inline(text: str) -> str:
    """Visible text with its line breaks shown as a sign; blanks at its ends stay."""
    return re.sub("\n+", f" {NEWLINE} ", visible(text))


def pieces(text: str, mentions: Mapping[str, Sequence[str]]) -> list[Piece]:
    """Cut a text at its mentions of either side, by the rule that `Dipole.side_taken` goes by.

    Of mentions that overlap the first counts, and of those that start at one place the longest, so the
    first marked piece is on the side that the text took.

    Args:
        text: A text as it was sampled.
        mentions: Words for `claim` and for `against`.

    Returns:
        Pieces that can be shown on one line; together they are the whole text.
    """
    cut: list[Piece] = []
    end = 0
    for span in spans(text, [mentions.get(side, ()) for side in SIDES]):
        cut.append(Piece(inline(text[end : span.start]), None))
        cut.append(Piece(inline(text[span.start : span.end]), SIDES[span.side]))
        end = span.end
    cut.append(Piece(inline(text[end:]), None))
    return [piece for piece in cut if piece.text]


def concept_mentions(concept: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The `mentions` of a concept as tuples; empty where it has none."""
    raw = concept.get("mentions")
    if not isinstance(raw, Mapping):
        return {}
    return {side: tuple(str(word) for word in raw.get(side) or ()) for side in SIDES}


def shell_line(parts: Sequence[str]) -> str:
    """A command line that a shell takes as it stands, with double quotes where they read better."""
    return " ".join(_quoted(part) for part in parts)


def _quoted(part: str) -> str:
    if "'" in part and not re.search(r'["$`\\!]', part):
        return f'"{part}"'
    return shlex.quote(part)
