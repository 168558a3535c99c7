"""Rows of texts behind prompts, preferred ones or labelled ones, in the formats of trl: JSONL, row by row.

A prompt is a text, or the messages of a conversation; so is what stands behind it. A row that can't be used
is left out and named, as rows of a corpus are.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from dipole.corpora.sources import JSONL, Skipped, form_of, json_objects, wrong_text
from dipole.files.paths import given_file
from dipole.types import DipoleWarning, UserError

S = TypeVar("S", str, list[tuple[str, str]])
PAIR, LABELLED, PLAIN = ("chosen", "rejected"), ("completion", "label"), ("completion",)
_AGAIN = "says what a row before it says"


class Prompt(NamedTuple):
    """What stands in front of a text.

    Attributes:
        text: The text, or what the user said last.
        told: What the system was told; empty for nothing.
        turns: What the user said before, and what was answered.
        chat: Whether it was given as messages.
    """

    text: str = ""
    told: str = ""
    turns: tuple[tuple[str, str], ...] = ()
    chat: bool = False


class Row(NamedTuple):
    """A row.

    Attributes:
        where: `file:line`.
        prompt: What stands in front.
        texts: The chosen and the rejected text, or the completion.
        label: Whether the completion is wanted; None where the row does not say.
        cut: For each text whether it goes on behind its end.
    """

    where: str
    prompt: Prompt
    texts: tuple[str, ...]
    label: bool | None
    cut: tuple[bool, ...]


class _Wrong(ValueError):
    """What is wrong with a row, such as `has no `chosen``."""


def read_rows(path: str | Path, columns: Sequence[str]) -> list[Row]:
    """The rows of a file that can be used; the user is warned of the others.

    Args:
        path: A .jsonl file, which may be gzipped.
        columns: `PAIR`, `LABELLED` or `PLAIN`: what a row has beside its `prompt`, which pairs can do without
            where both texts begin with it.

    Raises:
        UserError: There is no such file, or no row of it can be used.
    """
    file = given_file(path, "The file of texts")
    if form_of(file) != JSONL:
        raise UserError(
            f"{path} is of no form that can be read; give a .jsonl file with `prompt`, {_listed(columns)}."
        )
    skipped: list[Skipped] = []
    seen: set[tuple[Any, ...]] = set()
    rows = []
    for where, found in json_objects(file, skipped):
        try:
            row = _row(where, found, columns)
            if row[1:] in seen:
                raise _Wrong(_AGAIN)
            seen.add(row[1:])
            rows.append(row)
        except _Wrong as wrong:
            skipped.append(Skipped(where, str(wrong)))
    if not rows:
        first = f": {skipped[0].name} {skipped[0].reason}" if skipped else ""
        raise UserError(
            f"There is nothing to learn from in {path}{first}; give rows with `prompt`, {_listed(columns)}."
        )
    _tell(file, len(rows), skipped)
    return rows


def has_column(path: str | Path, name: str) -> bool:
    """Whether the first object of a JSONL file has a column; False for what is no such file."""
    if not os.path.isfile(path) or form_of(Path(path)) != JSONL:
        return False
    return any(name in found for _, found in _first(json_objects(Path(path), [])))


def _first(rows: Iterator[Any]) -> list[Any]:
    return [row for row, _ in zip(rows, range(1), strict=False)]


def _tell(file: Path, used: int, skipped: Sequence[Skipped]) -> None:
    if skipped:
        counts = Counter(row.reason for row in skipped)
        why = "; ".join(f"{count} × {reason}" for reason, count in counts.most_common(5))
        warnings.warn(
            f"{len(skipped)} rows of {file} are left out, and {used} are used. Of those left out, the first "
            f"is {skipped[0].name}: {why}.",
            DipoleWarning,
            stacklevel=4,
        )


def _listed(columns: Sequence[str]) -> str:
    return " and ".join(f"`{name}`" for name in columns)


def _row(where: str, found: Mapping[str, Any], columns: Sequence[str]) -> Row:
    names = [name for name in columns if name != "label"]
    for name in columns:
        if found.get(name) is None:
            raise _Wrong(f"has no `{name}`")
    given = [found[name] for name in names]
    kinds = {isinstance(value, list) for value in (*given, *_present(found.get("prompt")))}
    if len(kinds) > 1:
        raise _Wrong("has both texts and messages")
    prompt, texts = (_chat if kinds.pop() else _texts)(found.get("prompt"), given, names)
    if len(set(texts)) < len(texts):
        raise _Wrong("has a `chosen` and a `rejected` that are the same")
    cut = found.get("cut") or ()
    return Row(
        where, prompt, texts, _label(found) if "label" in columns else None, tuple(n in cut for n in names)
    )


def _present(value: Any) -> list[Any]:
    return [] if value is None else [value]


def _label(found: Mapping[str, Any]) -> bool:
    if found["label"] not in (True, False):  # 1 and 0 are these too
        raise _Wrong(f"has the label {str(found['label'])[:40]!r}, and true or false is wanted")
    return bool(found["label"])


def _texts(prompt: Any, given: Sequence[Any], names: Sequence[str]) -> tuple[Prompt, tuple[str, ...]]:
    for name, value in zip(names, given, strict=True):
        _require_text(name, value)
    if prompt is None:
        prompt = _common(given) if len(given) > 1 else ""
    elif prompt:
        _require_text("prompt", prompt)
    texts = [str(value) for value in given]
    if prompt and all(text.startswith(prompt) for text in texts):
        texts = [text[len(prompt) :] for text in texts]
        for name, text in zip(names, texts, strict=True):
            if not text.strip():
                raise _Wrong(f"has a `{name}` that says nothing behind the prompt")
    return Prompt(prompt), tuple(texts)


def _common(texts: Sequence[str]) -> str:
    """What texts begin with alike, up to the end of a word."""
    shared = _shared(texts)
    cut = max((place for place, sign in enumerate(shared) if sign.isspace()), default=0)
    return shared[:cut]


def _shared(sides: Sequence[S]) -> S:
    """What sequences begin with alike."""
    alike = takewhile(lambda pair: len(set(pair)) == 1, zip(*sides, strict=False))
    return sides[0][: sum(1 for _ in alike)]


def _require_text(name: str, value: Any) -> None:
    wrong = wrong_text(value)
    if wrong == "is empty":
        raise _Wrong(f"has an empty `{name}`")
    if wrong:
        raise _Wrong(wrong.replace("`text`", f"`{name}`"))


Messages = list[tuple[str, str]]


def _chat(prompt: Any, given: Sequence[Any], names: Sequence[str]) -> tuple[Prompt, tuple[str, ...]]:
    sides = [_messages(name, value) for name, value in zip(names, given, strict=True)]
    front = _messages("prompt", prompt) if prompt else []
    if not front:
        shared = _shared(sides) if len(sides) > 1 else sides[0][:-1]
        front = list(shared[: min(len(side) for side in sides) - 1])
    replies = []
    for name, side in zip(names, sides, strict=True):
        rest = side[len(front) :] if side[: len(front)] == front else side
        if len(rest) != 1 or rest[0][0] != "assistant":
            raise _Wrong(f"has a `{name}` that is not one reply of the assistant behind the prompt")
        replies.append(rest[0][1])
    return _prompt(front), tuple(replies)


def _messages(name: str, value: Any) -> Messages:
    found = []
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in ("system", "user", "assistant"):
            raise _Wrong(f"has a `{name}` with a message that has no `role` of system, user or assistant")
        _require_text(f"{name}.content", message.get("content"))
        found.append((str(message["role"]), str(message["content"])))
    if not found:
        raise _Wrong(f"has an empty `{name}`")
    return found


def _prompt(front: Messages) -> Prompt:
    told = front[0][1] if front and front[0][0] == "system" else ""
    rest = front[1:] if told else front
    roles = [role for role, _ in rest]
    if not rest or roles != ["user", "assistant"] * (len(rest) // 2) + ["user"]:
        raise _Wrong("has a prompt that is not by turns of the user and the assistant, the user last")
    said = [text for _, text in rest]
    return Prompt(said[-1], told, tuple(zip(said[:-1:2], said[1::2], strict=True)), chat=True)
