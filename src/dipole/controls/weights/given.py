"""Texts of a file as lessons: prompts and texts tokenised apart, what does not fit named."""

from __future__ import annotations

from typing import Protocol

from dipole.controls.weights.lessons import Lesson, Unit, ending
from dipole.controls.weights.rollout import Text
from dipole.corpora.corpus import open_corpus
from dipole.corpora.preferences import LABELLED, PAIR, PLAIN, Prompt, Row, has_column, read_rows
from dipole.protocols import LM
from dipole.types import UserError


class Asking(Protocol):
    """What a control says of the texts that it was given."""

    @property
    def given(self) -> str: ...  # noqa: D102
    @property
    def max_length(self) -> int: ...  # noqa: D102


def given_pairs(asking: Asking, lm: LM) -> list[Unit]:
    """The pairs of a file, the chosen text first.

    Raises:
        UserError: There is none that can be used, or a prompt leaves no room.
    """
    rows = read_rows(asking.given, PAIR)
    return [tuple(_lessons(row, (True, False), asking, lm)) for row in rows]


def given_labels(asking: Asking, lm: LM) -> list[Unit]:
    """The texts of a file, each wanted or not; those of a file of pairs too.

    Raises:
        UserError: There is none that can be used, all are labelled the same, or a prompt leaves no room.
    """
    if has_column(asking.given, "chosen"):
        return [(lesson,) for pair in given_pairs(asking, lm) for lesson in pair]
    rows = read_rows(asking.given, LABELLED)
    labels = {row.label for row in rows}
    if len(labels) == 1:
        raise UserError(
            f"All {len(rows)} labels in {asking.given} are {str(rows[0].label).lower()}, so nothing tells "
            "what is wanted from what is not; give texts of both kinds, or learn the wanted ones by sft."
        )
    return [(lesson,) for row in rows for lesson in _lessons(row, (bool(row.label),), asking, lm)]


def given_texts(asking: Asking, lm: LM) -> list[Unit]:
    """The texts of a corpus, or of rows with a `completion`, each with its end unless it is cut.

    Raises:
        UserError: There is nothing, or a prompt leaves no room for its text.
    """
    if has_column(asking.given, "completion"):
        rows = read_rows(asking.given, PLAIN)
        return [(lesson,) for row in rows for lesson in _lessons(row, (True,), asking, lm)]
    found = []
    for document in open_corpus(asking.given):
        behind = lm.resident.continuation_ids(document.text) if document.prompt else None
        ids = _fitting(document.id, lm.prompt_ids(document.prompt), asking, lm) if document.prompt else []
        whole = behind if behind is not None else lm.resident.encode(document.text)
        front, text = (ids, whole) if document.prompt else (whole[:1], whole[1:])
        found.append(Lesson(_cut(front, [*text, *ending(lm.resident)], asking, lm)))
    return [(lesson,) for lesson in found if lesson.ids.token_ids]


def _lessons(row: Row, wanted: tuple[bool, ...], asking: Asking, lm: LM) -> list[Lesson]:
    prompt = _fitting(row.where, _prompt_ids(row, lm), asking, lm)
    made = []
    for text, is_wanted, cut in zip(row.texts, wanted, row.cut, strict=True):
        ids = [*lm.resident.continuation_ids(text), *(() if cut else ending(lm.resident))]
        made.append(Lesson(_cut(prompt, ids, asking, lm), is_wanted, row.prompt.text, text, cut=cut))
    return made


def _prompt_ids(row: Row, lm: LM) -> list[int]:
    prompt: Prompt = row.prompt
    if prompt.chat and not lm.resident.chat:
        raise UserError(
            f"{row.where} is a conversation, and {lm.resident.name} is read without a chat template; give "
            "texts, or a model that chats."
        )
    if prompt.chat:
        return lm.resident.prompt_ids([(prompt.told, prompt.turns)], prompt.text)
    return lm.prompt_ids(prompt.text)


def _most(asking: Asking, lm: LM) -> int:
    return min(asking.max_length, lm.resident.context_length or asking.max_length)


def _fitting(where: str, prompt: list[int], asking: Asking, lm: LM) -> list[int]:
    most = _most(asking, lm)
    if len(prompt) >= most:
        raise UserError(
            f"The prompt of {where} in {asking.given} has {len(prompt)} tokens, which leaves nothing of its "
            f"text within {most}; shorten it, or raise max_length."
        )
    return prompt


def _cut(prompt: list[int], text: list[int], asking: Asking, lm: LM) -> Text:
    return Text(prompt, text[: _most(asking, lm) - len(prompt)])
