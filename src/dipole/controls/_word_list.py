"""Lists of words that a user gives, and the tokens that stand for them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import regex

from dipole.concepts.mentions import stem
from dipole.files.plain_text import lines_of, read_plain_text
from dipole.resident import Resident
from dipole.types import UserError
from dipole.words import starts_unspaced


def words_of(text: str, flag: str) -> list[str]:
    """Words from a file with one a line, or from a comma separated list, each once, in NFC.

    A line of `#`, or one that begins with `# `, is a comment. What has a comma, or is longer than a path can
    be, is a list unless it names a file; a word that holds a comma itself needs a file.

    Raises:
        UserError: The file can't be read, or holds no word.
    """
    if not _is_file(text):
        parts = regex.split("[,，、،]", text)
    else:
        told = read_plain_text(
            text, f"The {flag}", "a text file in UTF-8 with one word a line, or a list with commas"
        )
        parts = [
            line for line in lines_of(told) if line.strip() != "#" and not line.lstrip().startswith("# ")
        ]
        if not any(part.strip() for part in parts):
            raise UserError(f"{flag} names the file {text}, which holds no word; write one a line.")
    return list(dict.fromkeys(unicodedata.normalize("NFC", word) for part in parts if (word := part.strip())))


def _is_file(text: str) -> bool:
    try:
        path = Path(text)
        found = path.expanduser().is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, or no such home
        return False
    named = "/" in text or path.suffix == ".txt"
    return found or (named and (path.suffix == ".txt" or "," not in text))


class Written(NamedTuple):
    """How a word is written in the tokens of a model.

    Attributes:
        word: The word.
        token: The token that stands for it; None where none can.
        parts: How many tokens it has.
        problem: Why there is none, or empty.
    """

    word: str
    token: int | None
    parts: int
    problem: str = ""


def _written(resident: Resident, word: str, whole: bool) -> Written:
    """The first token of a word as a text has it: behind a blank, in scripts that write blanks."""
    ids = resident.continuation_ids(word if starts_unspaced(word) else " " + word)
    if not ids or ids[0] == resident.tokenizer.unk_token_id:
        return Written(word, None, 0, "the tokenizer can't write it")
    if whole and len(ids) > 1:
        return Written(word, None, len(ids), f"it is {len(ids)} tokens")
    said = resident.decode([], ids[:1])
    if not said.strip():
        return Written(word, None, len(ids), "its first token is a blank")
    if "\ufffd" in said:
        return Written(word, None, len(ids), "its first token is a part of a character")
    return Written(word, ids[0], len(ids))


def tokens_of(
    resident: Resident, words: Sequence[str], flag: str, whole: bool
) -> tuple[tuple[int, ...], str]:
    """A token for each word, and what to say about the words that do not go over whole, or nothing.

    Args:
        resident: The model whose tokens are meant.
        words: The words.
        flag: What the list is called.
        whole: Only words that are one token count; otherwise a word stands for its first token.

    Raises:
        UserError: No word has a token, or words that differ are all left with one.
    """
    found = [_written(resident, word, whole) for word in words]
    kept = [word for word in found if word.token is not None]
    lost = [f"{word.word} ({word.problem})" for word in found if word.token is None]
    if words and not kept:
        need = "is a single token of this model" if whole else "begins with a token of its own in this model"
        raise UserError(f"None of the {flag} {need}: {_listed(lost)}; give other words.")
    shared: dict[int, list[Written]] = {}
    for word in kept:
        shared.setdefault(cast(int, word.token), []).append(word)
    if len(shared) == 1 and len({stem(word.word) for word in kept}) > 1:
        raise UserError(
            f"All {flag} begin with the same token {_said(resident, kept[0])} "
            f"({_listed(w.word for w in kept)}), so it stands for none of them; give words that begin "
            "differently."
        )
    return tuple(shared), _note(resident, flag, lost, list(shared.values()))


def _note(resident: Resident, flag: str, lost: Sequence[str], groups: Sequence[Sequence[Written]]) -> str:
    said = [f"left out: {_listed(lost)}"] if lost else []
    for what, chosen in (
        (
            "a word of several tokens counts by its first",
            [g for g in groups if len(g) == 1 and g[0].parts > 1],
        ),
        ("words that begin with the same token count once", [g for g in groups if len(g) > 1]),
    ):
        if chosen:
            named = (f"{_said(resident, g[0])} for {' and '.join(w.word for w in g[:3])}" for g in chosen)
            said.append(f"{what}: {_listed(named)}")
    return f"Of the {flag}, {'; '.join(said)}." if said else ""


def _said(resident: Resident, word: Written) -> str:
    return repr(resident.decode([], [cast(int, word.token)]))


def _listed(parts: Iterable[str]) -> str:
    listed = list(parts)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")
