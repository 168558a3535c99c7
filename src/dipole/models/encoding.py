"""Text to token ids: what somebody wrote stays text, also where it spells a control token."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, NamedTuple

from dipole.models.turns import process_lock
from dipole.types import UserError

_ANCHORS = (".", "a", "\n", "!")
_ENCODING = process_lock()  # whether special tokens are read is a setting of the tokenizer, not of the call


class Piece(NamedTuple):
    """A part of a rendered chat: written by somebody, or by the template, whose control tokens count."""

    text: str
    written: bool


class Encoder:
    """A tokenizer that gives control tokens only where it, or a chat template, puts them itself.

    Tokenizers find special tokens in any text, so a prompt that mentions `</s>` would end there for the
    model. Here the text is read with that switched off. Where a tokenizer gives the control token all the
    same (Unigram and WordLevel vocabularies hold it as a piece; it was added as a plain word), the text is
    cut behind the first character of it and its parts are read apart.

    Attributes:
        tokenizer: Of transformers.
        name: Of the model, for messages.
        control: Ids that no text may become. The token for unknown words is none, unless it has another
            office too.
    """

    def __init__(self, tokenizer: Any, name: str, rows: int, ends: Sequence[int], as_control: bool) -> None:
        """Find the control tokens.

        Args:
            tokenizer: Of transformers.
            name: Of the model, for messages.
            rows: How many token ids the model knows.
            ends: Ids that end a text.
            as_control: Read special tokens in texts as such, as tokenizers do.
        """
        self.tokenizer, self.name, self._rows, self._as_control = tokenizer, name, rows, as_control
        spelled = control_tokens(tokenizer, rows, ends)
        unknown = tokenizer.unk_token_id
        named = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, *ends}
        self.control = frozenset(spelled) - ({unknown} - named)
        self._names = sorted({text for text in spelled.values() if len(text) > 1}, key=len, reverse=True)

    @cached_property
    def spelled(self) -> re.Pattern[str]:
        """Finds what texts must not become; nothing where special tokens in texts are read as such."""
        names = () if self._as_control else self._names
        return re.compile("|".join(map(re.escape, names)) or "(?!)", re.IGNORECASE)

    @cached_property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What the tokenizer puts before and behind a text, as far as the model can read it."""
        bare, whole = self._raw("a"), self._ids("a", as_text=False, add_special_tokens=True)
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                before, behind = whole[:start], whole[start + len(bare) :]
                return self._readable(before), self._readable(behind)
        return (), ()

    def _readable(self, ids: Sequence[int]) -> tuple[int, ...]:
        return tuple(i for i in ids if i < self._rows)

    def start(self, text: str) -> list[int]:
        """Ids of a text that starts a sequence, without what the tokenizer puts behind it."""
        return [*self.around[0], *(self._known(self._own(text)) if text else ())]

    def behind(self, text: str) -> list[int]:
        """Ids of a text that continues another, without special tokens.

        The text is read behind an anchor, because sentencepiece tokenizers would otherwise give it a space
        of their own.
        """
        return self._known(self._behind(text, self._own))

    def chat(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of a rendered chat; nothing is put around it."""
        ids: list[int] = []
        for piece in pieces:
            give = self._own if piece.written else self._raw
            ids += self._behind(piece.text, give) if ids else give(piece.text)
        return self._known(ids)

    def _own(self, text: str) -> list[int]:
        """Ids of what somebody wrote."""
        if self._as_control:
            return self._raw(text)
        ids = self._ids(text, as_text=True)
        if self.control.isdisjoint(ids):
            return ids
        # Looked ahead for, so that one that begins within another is found too.
        found = re.finditer(f"(?=({self.spelled.pattern}))", text, re.IGNORECASE)
        cuts = [match.start() + 1 for match in found]
        parts = [text[i:j] for i, j in zip([0, *cuts], [*cuts, len(text)], strict=True)]
        # A control token that is one character, such as an end of line, is that character.
        return [i for k, part in enumerate(parts) for i in (self._part(part) if k else self._plain(part))]

    def _part(self, text: str) -> list[int]:
        return self._behind(text, self._plain)

    def _plain(self, text: str) -> list[int]:
        return self._ids(text, as_text=True)

    def _raw(self, text: str) -> list[int]:
        return self._ids(text, as_text=False)

    def _behind(self, text: str, give: Callable[[str], list[int]]) -> list[int]:
        if not text:
            return []
        for anchor in _ANCHORS:
            prefix, joint = give(anchor), give(anchor + text)
            if joint[: len(prefix)] == prefix and len(joint) > len(prefix):
                return joint[len(prefix) :]
        return give(text)

    def _known(self, ids: list[int]) -> list[int]:
        worst = max(ids, default=0)
        if worst >= self._rows:
            token = self.tokenizer.convert_ids_to_tokens(worst)
            raise UserError(
                f"The tokenizer of {self.name} writes {token!r} as the token {worst}, which its model does "
                f"not know ({self._rows} tokens); leave it out, or use the tokenizer that the "
                "model was trained with."
            )
        return ids

    def _ids(self, text: str, as_text: bool, add_special_tokens: bool = False) -> list[int]:
        # Not verbose: whoever calls knows the context length, and a warning on standard error helps nobody.
        with _ENCODING:
            read = self.tokenizer(
                text, add_special_tokens=add_special_tokens, split_special_tokens=as_text, verbose=False
            )
        return list(read["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids without special tokens; ids that the tokenizer does not know have none."""
        known = len(self.tokenizer)
        with _ENCODING:
            return str(
                self.tokenizer.decode(
                    [i for i in ids if 0 <= i < known],
                    skip_special_tokens=True,
                    clean_up_tokenization_spaces=False,
                )
            )


def control_tokens(tokenizer: Any, rows: int, ends: Sequence[int]) -> dict[int, str]:
    """Ids that the names of tokens may not become, with these names.

    Special tokens, those that end a text, added tokens that a chat template writes, and added tokens that
    the model does not know.
    """
    added = {int(i): token for i, token in tokenizer.added_tokens_decoder.items()}
    source = "\0".join(chat_templates(tokenizer).values())
    found = {i for i, token in added.items() if token.special or i >= rows or _is_written(token, source)}
    found |= {i for i in tokenizer.all_special_ids if i is not None} | set(ends)
    names = {i: added[i].content if i in added else tokenizer.convert_ids_to_tokens(i) for i in found}
    return {i: str(name) for i, name in names.items() if name}


def chat_templates(tokenizer: Any) -> dict[str, str]:
    """The chat templates of a tokenizer by name; one without a name is called default."""
    held = tokenizer.chat_template
    if not held:
        return {}
    if isinstance(held, str):
        return {"default": held}
    pairs = held.items() if isinstance(held, dict) else ((one["name"], one["template"]) for one in held)
    return {str(name): str(source) for name, source in pairs}


def _is_written(token: Any, template: str) -> bool:
    """Whether a template writes an added token that is no blank (Gemma has tokens of those) and no word."""
    text = token.content
    return not text.isspace() and not text.isalnum() and text in template
