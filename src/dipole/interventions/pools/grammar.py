"""Regular expressions and JSON schemas, through llguidance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from dipole.files.schema import Field, Optional, Text
from dipole.interventions.pools.automaton import Allowed, Walk, only
from dipole.interventions.pools.json_schema import checked_schema
from dipole.interventions.pools.language import PlainLanguage
from dipole.interventions.pools.vocabulary import Vocabulary
from dipole.types import UserError

_TRIALS, _TRIAL_TOKENS = 4, 32
_JSON = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


@dataclass(frozen=True)
class Grammar(PlainLanguage):
    """Texts that match a regular expression as a whole, or a JSON schema.

    The text begins right behind the prompt: a regular expression that wants a space there says so. JSON is
    written as Python's `json.dumps` writes it, with one blank behind each comma and colon and no others: a
    weak model that may write any blanks writes little else.

    Attributes:
        regex: A regular expression in the syntax of Rust's `regex`, without look-around and back-references.
        json_schema: A JSON schema, as JSON.
    """

    regex: str = ""
    json_schema: str = ""

    type: ClassVar[str] = "grammar"
    ends: ClassVar[bool] = True
    fields: ClassVar[Mapping[str, Field]] = {
        "regex": Optional(Text(), ""),
        "json_schema": Optional(Text(), ""),
    }

    def __post_init__(self) -> None:
        """Refuse what the engine refuses.

        Raises:
            UserError: Neither or both are given, the engine refuses what is given, or is not installed.
        """
        if bool(self.regex) == bool(self.json_schema):
            raise UserError("A grammar is a regular expression or a JSON schema: give one of the two.")
        engine = _engine()
        try:
            error = engine.LLMatcher.validate_grammar(self._source)
        except UserError:
            raise
        except ValueError as refused:
            error = str(refused)
        if error and not error.startswith("WARNING"):
            raise UserError(f"The grammar engine refuses the {self._what}: {_first_line(error)}; change it.")

    @property
    def _what(self) -> str:
        return f"regular expression {self.regex!r}" if self.regex else "JSON schema"

    @cached_property
    def _source(self) -> str:
        matcher = _engine().LLMatcher
        if self.regex:
            return str(matcher.grammar_from_regex(self.regex))
        return str(matcher.grammar_from_json_schema(checked_schema(self.json_schema), overrides=_JSON))

    @cached_property
    def _tokenizers(self) -> WeakKeyDictionary[Vocabulary, Any]:
        return WeakKeyDictionary()

    def walks(self, vocabulary: Vocabulary, rows: Sequence[tuple[str, bool]], name: str) -> list[Walk]:
        """One walk for each row.

        Raises:
            UserError: The engine refuses the grammar with these tokens, or no text matches it.
        """
        fresh = vocabulary not in self._tokenizers
        if fresh:
            self._tokenizers[vocabulary] = _tokenizer(vocabulary)
        matcher = _engine().LLMatcher(self._tokenizers[vocabulary], self._source, log_level=0)
        if matcher.is_error():
            raise UserError(
                f"The grammar can't be followed with the tokens of {name}: "
                f"{_first_line(matcher.get_error())}; make it simpler."
            )
        if fresh:
            for seed in range(_TRIALS):
                self._try(GrammarWalk(matcher.deep_copy(), vocabulary), np.random.default_rng(seed))
        return [GrammarWalk(matcher.deep_copy(), vocabulary) for _ in rows]

    def _try(self, walk: GrammarWalk, rng: np.random.Generator) -> None:
        """Walk a little at random, so that what the engine can't follow is known before it is used."""
        for _ in range(_TRIAL_TOKENS):
            if walk.matcher is None or walk.matcher.is_stopped():
                return
            allowed = walk.allowed()
            every = np.arange(len(walk.vocabulary.texts))
            tokens = allowed.tokens if allowed.listed else np.setdiff1d(every, allowed.tokens)
            walk.advance(int(rng.choice(tokens)))


@dataclass(eq=False)
class GrammarWalk:
    """A walk that the engine keeps.

    Attributes:
        matcher: The engine's state; None behind the end.
        vocabulary: The model's tokens.
    """

    matcher: Any
    vocabulary: Vocabulary

    def allowed(self) -> Allowed:
        """Tokens that may follow.

        Raises:
            UserError: The engine gave up, or no token of the vocabulary can go on.
        """
        ends = self.vocabulary.eos_ids
        if self.matcher is None or self.matcher.is_stopped():
            self._require_no_error()
            return only(ends)
        bits = np.frombuffer(self.matcher.compute_bitmask(), dtype=np.uint8)
        self._require_no_error()
        total = len(self.vocabulary.texts)
        mask = np.unpackbits(bits, bitorder="little")[:total].astype(bool)
        for end in ends:
            mask[end] = self.matcher.is_accepting()
        if not mask.any():
            raise UserError("No token of the model can go on in this grammar; make it simpler.")
        if 2 * int(mask.sum()) <= total:
            return Allowed(np.flatnonzero(mask), True)
        return Allowed(np.flatnonzero(~mask), False)

    def advance(self, token: int) -> None:
        """Take a token.

        Raises:
            UserError: The engine gave up.
        """
        if self.matcher is None:
            return
        # Asked first, because the engine calls a token that is not allowed an error of its own.
        allowed = token not in self.vocabulary.eos_ids and self.matcher.validate_tokens([token]) == 1
        if not (allowed and self.matcher.consume_token(token)):
            if allowed:
                self._require_no_error()
            self.matcher = None

    def copy(self) -> GrammarWalk:
        """Another walk from the same place."""
        return GrammarWalk(None if self.matcher is None else self.matcher.deep_copy(), self.vocabulary)

    def _require_no_error(self) -> None:
        if self.matcher is None or not self.matcher.is_error():
            return
        if self.matcher.get_error().startswith("NoExtension"):
            raise UserError(
                "No text can match the grammar from here on; change the part that allows nothing."
            )
        raise UserError(
            f"The grammar engine gave up: {_first_line(self.matcher.get_error())}; simplify the grammar."
        )


class _Tokens:
    """The vocabulary as the engine wants to see it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.eos_token_id = vocabulary.eos_ids[0]
        self.bos_token_id = None
        # A special token must have bytes there, and may never be written.
        self.special_token_ids = [i for i, text in enumerate(vocabulary.texts) if text is None]
        self.tokens = [text or b"<|%d|>" % i for i, text in enumerate(vocabulary.texts)]
        self.is_tokenizer_wrapper = True
        self._ids = {text: i for i, text in reversed(list(enumerate(vocabulary.texts))) if text}
        self._longest = max(map(len, self._ids), default=0)

    def __call__(self, text: str | bytes) -> list[int]:
        """Token ids of a text, the longest token first each time; the engine asks for forced text."""
        data = text.encode("utf-8") if isinstance(text, str) else text
        found, at = [], 0
        while at < len(data):
            size = next((k for k in range(self._longest, 0, -1) if data[at : at + k] in self._ids), 0)
            if not size:
                break
            found.append(self._ids[data[at : at + size]])
            at += size
        return found


def _tokenizer(vocabulary: Vocabulary) -> Any:
    return _engine().LLTokenizer(_Tokens(vocabulary), n_vocab=len(vocabulary.texts), slices=[])


def _engine() -> Any:
    try:
        import llguidance
    except ImportError as error:
        raise UserError(
            "Grammars need llguidance, which is not installed; install it with pip install 'dipole[grammar]'."
        ) from error
    return llguidance


def _first_line(text: str) -> str:
    """What an error of the engine says, without the drawing that points to the place."""
    text = text.rsplit("\nerror: ", 1)[-1].split("\n   1 |")[0]
    return " ".join(text.split())[:200].rstrip(".;")
