"""The tokens surface: what may be said at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dipole.decoding.guides import Guide, Session
from dipole.files.schema import Choice, Facts, Field, Flag, Optional, Table, Text, Whole, checked, shown
from dipole.interventions.folder import (
    META_FILE,
    REMEDY,
    checked_apply,
    folder_tensors,
    read_fields,
    write_folder,
)
from dipole.interventions.pools.automaton import Walk
from dipole.interventions.pools.grammar import Grammar
from dipole.interventions.pools.labels import Labels
from dipole.interventions.pools.language import Language
from dipole.interventions.pools.masking import MaskGuide
from dipole.interventions.pools.quotes import Quotes
from dipole.interventions.pools.sources import Document, Segment, Sources, coverage
from dipole.interventions.pools.titles import Titles
from dipole.interventions.pools.vocabulary import Vocabulary, drops_first_space, vocabulary
from dipole.resident import Resident
from dipole.types import Sample, Surface, UserError

if TYPE_CHECKING:
    from dipole.protocols import LM

__all__ = [
    "Document",
    "Grammar",
    "Labels",
    "Language",
    "Pool",
    "Quotes",
    "Segment",
    "Sources",
    "Titles",
    "coverage",
    "quoted",
]

# What `dipole.json` calls a language, to its class.
LANGUAGES: dict[str, type[Language]] = {cls.type: cls for cls in (Labels, Titles, Quotes, Grammar)}
MOST_ROUNDS, MOST_TOKENS = 2048, 8192
SAMPLINGS = ("local", "asap", "global")


@dataclass(frozen=True)
class Pool:
    """A mask: at each step only tokens that keep the text within a language.

    It fits any model, and is on (strength 1) or off (0). Masking comes before guidance on logits and before
    temperature, top-k and top-p.

    Attributes:
        language: What may be said.
        sampling: `local` masks each step and renormalises, which samples p(y) / prod_t Z_t, not p(y | L).
            `asap` corrects that with estimates of how likely each prefix is to stay in the language, learnt
            from `rounds` draws for each prompt before the samples. `global`, for labels alone, scores every
            label and draws from the softmax.
        rounds: Draws a prompt that `asap` learns from.
        max_tokens: Token budget of each of those.
        prior: For `global`: a prompt without content, whose scores are subtracted; none if empty.
        count_end: For `global`: whether a label's score has the probability that the text ends there.
        card: Model card in Markdown.
    """

    language: Language
    sampling: str = "local"
    rounds: int = 32
    max_tokens: int = 64
    prior: str = ""
    count_end: bool = True
    card: str = field(default="", compare=False)

    surface: ClassVar[Surface] = "tokens"
    kind: ClassVar[str] = "pool"
    graded: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse what means nothing."""
        if self.sampling not in SAMPLINGS:
            raise UserError(f"sampling must be one of {', '.join(SAMPLINGS)}, and is {self.sampling!r}.")
        if self.sampling == "global" and not isinstance(self.language, Labels):
            raise UserError(
                f"Global normalisation needs labels that can be counted, and this pool holds "
                f"{self.language.type}; use local or asap."
            )
        for name, most in (("rounds", MOST_ROUNDS), ("max_tokens", MOST_TOKENS)):
            if not 1 <= getattr(self, name) <= most:
                raise UserError(f"{name} must be from 1 to {most}, and is {getattr(self, name)}.")

    def apply(self, lm: LM, strength: float = 1.0) -> LM:
        """The LM that can say nothing else.

        Raises:
            UserError: The strength is not 0 or 1.
        """
        return checked_apply(self, lm, strength, "any model", None)

    def guide(self, session: Session, strength: float) -> Guide:
        """What masks the logits of one batch.

        Raises:
            UserError: The model has no end-of-text token, its tokenizer can't write what the pool holds, or
                nothing may follow a prompt.
        """
        del strength
        words = self.tokens(session.resident)
        walks = started(self.language, session, words)
        if isinstance(self.language, Labels) and self.sampling == "global":
            from dipole.interventions.pools.scoring import GlobalGuide

            return GlobalGuide(session, self.language, words, self.prior, self.count_end)
        cost = float(getattr(self.language, "cut_cost", 0.0))
        if self.sampling == "asap":
            from dipole.interventions.pools.asap_guide import AsapGuide

            return AsapGuide(session, walks, words, cost, self.rounds, self.max_tokens)
        return MaskGuide(walks, words, cost)

    def tokens(self, resident: Resident) -> Vocabulary:
        """The tokens of a model that the pool can work with.

        Raises:
            UserError: The model has no end-of-text token, or its tokenizer can't write what the pool holds.
        """
        words = vocabulary(resident)
        if self.language.ends and not words.eos_ids:
            raise UserError(
                f"{resident.name} has no end-of-text token, so what the pool holds could not be ended; use a "
                "model that has one."
            )
        self.language.walks(words, [("", False)], resident.name)
        return words

    def save(self, folder: Path) -> None:
        """Write `dipole.json`, a card, and what is too large for JSON as safetensors."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        language = {"type": self.language.type, **self.language.to_dict()}
        meta = {"surface": self.surface, "kind": self.kind, **options, "language": language}
        write_folder(folder, meta, self.language.tensors(), self.card)

    @classmethod
    def load(cls, folder: Path) -> Pool:
        """Read what `save` wrote.

        Raises:
            UserError: It can't be read.
        """
        meta = read_fields(folder, _FIELDS)
        kind = meta["language"].pop("type", None)
        if not isinstance(kind, str) or kind not in LANGUAGES:
            raise UserError(
                f"The pool in {folder} holds {shown(kind)}, which this version of dipole does not know (it "
                f"knows: {', '.join(LANGUAGES)}); update dipole."
            )
        found = LANGUAGES[kind]
        where = f"The language in {folder / META_FILE}"
        data = checked(Table(found.fields), meta["language"], where, REMEDY)
        wanted = found.wanted(data)
        try:
            language = found.from_saved(data, folder_tensors(folder, wanted) if wanted else {})
        except UnicodeDecodeError as error:
            raise UserError(f"The texts in {folder} are not UTF-8 ({error}); {REMEDY}.") from error
        return cls(language, **{name: meta[name] for name in _OPTIONS})


_OPTIONS: dict[str, Field] = {
    "sampling": Optional(Choice(SAMPLINGS), "local"),
    "rounds": Optional(Whole(1, MOST_ROUNDS), 32),
    "max_tokens": Optional(Whole(1, MOST_TOKENS), 64),
    "prior": Optional(Text(), ""),
    "count_end": Optional(Flag(), True),
}
_FIELDS: dict[str, Field] = {**_OPTIONS, "language": Facts()}


def started(language: Language, session: Session, words: Vocabulary) -> list[Walk]:
    """One walk for each row, at its start.

    Raises:
        UserError: Nothing may follow a prompt.
    """
    resident = session.resident
    # What the model reads, which a chat template may have wrapped, and not what the user wrote.
    shown = {row.ids: resident.decode([], row.ids) for row in session.rows}
    drops = {ids: not text and drops_first_space(resident, words, ids) for ids, text in shown.items()}
    rows = [(shown[row.ids], drops[row.ids]) for row in session.rows]
    walks = language.walks(words, rows, resident.name)
    for walk, (text, _) in zip(walks, rows, strict=True):
        if walk.allowed().empty:
            raise UserError(
                f"The token pool allows nothing behind {text[-40:]!r} with the tokens of {resident.name}; "
                "give another pool or another prompt."
            )
    return walks


def quoted(lm: LM, sample: Sample) -> list[Segment] | None:
    """Where each quote of a sample stands in its source; None where the LM that wrote it quotes nothing."""
    for pool in (a.intervention for a in lm.applied if a.strength != 0.0):
        if isinstance(pool, Pool) and isinstance(pool.language, Quotes):
            return pool.language.attribute(sample.text, sample.prompt)
    return None
