"""Stance: VELMA for texts of any kind, asked both ways and centred on sentences that take no side."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from dipole.protocols import LM
from dipole.recognizers._frames import FRAMES, Frame, Frames, Template, frames_of, known_template
from dipole.recognizers._statements import Poles, check_settings, statements, texts_of
from dipole.recognizers.likelihood import continuation_likelihoods
from dipole.recognizers.neutral import NEUTRAL
from dipole.types import Score, UserError

Around = Literal["auto", "plain", "quoted", "chat"]
Direction = Literal["text_to_pole", "pole_to_text", "both"]
Prior = Literal["none", "nothing", "neutral"]

_TRIED = 4  # neutral sentences by which a judge shows whether it knows the words of a quotation
_SIGNS = (1.0, -1.0)  # of who says it, and of who denies it
_TREE = 256  # tokens of texts that are read behind one statement at once


@dataclass(frozen=True)
class Stance:
    """Scores a text by what its author would say, and by who would have said it.

    With a frame around them, `text_to_pole` is VELMA: the mean log-likelihood of a token of the claim after
    the text, less that of its opposite. `pole_to_text` asks the other way round: the mean log-likelihood of a
    token of the text after the claim, less that after its opposite; by Bayes' rule both lean alike, and each
    errs where the other need not: a statement is short and may be likely after anything, a text may say much
    that has nothing to do with either. `both` is their sum, each in nats a token. What texts and statements
    have in common by their words alone, whoever says them, is in the words of who denies them as well, so
    `denial` takes off what is likely there.

    From that the prior is subtracted, and the rest is divided by the temperature. With
    `template="plain", direction="text_to_pole", prior="none", temperature=0.2` this is `Velma`.

    A text too long for the context keeps its end, and `Score.reason` says so; an empty one is unscored.

    Attributes:
        judge: The LM that reads; its interventions are engaged.
        template: What stands around a text: plain (nothing, as published), quoted, chat (the tokenizer's
            template; what follows is read where the assistant speaks), or auto: quoted where the judge knows
            the words of a quotation, else plain.
        direction: text_to_pole, pole_to_text or both.
        denial: Subtract what the same questions give in the words of who disagrees; of the templates, quoted
            alone has such words.
        prior: What is subtracted: none, nothing (what the statements score after no text), or neutral (the
            mean over the neutral sentences).
        neutral: Sentences that take no side.
        temperature: Divides the nats a token.
        batch_size: Texts a forward.
    """

    judge: LM
    template: Around = "auto"
    direction: Direction = "both"
    denial: bool = True
    prior: Prior = "neutral"
    neutral: tuple[str, ...] = NEUTRAL
    temperature: float = 0.8
    batch_size: int = 16
    _priors: dict[tuple[str, str], float] = field(default_factory=dict, init=False, repr=False, compare=False)
    _known: list[Template] = field(default_factory=list, init=False, repr=False, compare=False)

    name: ClassVar[str] = "stance"

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        check_settings(self.name, self.temperature, self.batch_size)
        if self.template != "auto":
            frames_of(self.template, self.judge.resident)
        for name, allowed in (("direction", Direction), ("prior", Prior)):
            if getattr(self, name) not in get_args(allowed):
                raise UserError(
                    f"{name} must be {', '.join(get_args(allowed))}, and is {getattr(self, name)!r}."
                )
        if self.prior == "neutral" and not any(text.strip() for text in texts_of(self.neutral, self.name)):
            raise UserError("prior='neutral' needs sentences that take no side, and neutral has none.")

    def score(self, texts: Sequence[str], concept: Poles) -> list[Score]:
        """Log-odds of each text, positive towards the claim.

        Raises:
            UserError: A statement is empty, or the judge's context has no room for the statements.
        """
        pair = statements(concept, self.name)
        listed = texts_of(texts, self.name)
        said = [text for text in listed if text.strip()]
        prior = self._prior(pair)
        nats, cut = self._nats(said, pair)
        found = iter(zip(((nats - prior) / self.temperature).tolist(), cut, strict=True))
        empty = Score.unscored("the text is empty")
        return [_to_score(*next(found)) if text.strip() else empty for text in listed]

    @property
    def frames(self) -> Frames:
        """What stands around texts and statements with this judge."""
        if self.template != "auto":
            return frames_of(self.template, self.judge.resident)
        if not self._known:
            self._known.append(known_template(self.judge, NEUTRAL[:_TRIED]))
        return FRAMES[self._known[0]]

    def _prior(self, pair: tuple[str, str]) -> float:
        """What is subtracted, in nats a token; found once for each pair of statements."""
        if self.prior == "none":
            return 0.0
        if pair not in self._priors:
            texts = [""] if self.prior == "nothing" else [text for text in self.neutral if text.strip()]
            nats, _ = self._nats(texts, pair)
            self._priors[pair] = float(nats.mean())
        return self._priors[pair]

    def _nats(self, texts: Sequence[str], pair: tuple[str, str]) -> tuple[Tensor, list[str | None]]:
        """Nats a token towards the claim, `(n,)` float64, and for each text what was left out of it."""
        frames = self.frames
        both = {
            "text_to_pole": (_text_first, frames.text_first),
            "pole_to_text": (_pole_first, frames.pole_first),
        }
        nats = torch.zeros(len(texts), dtype=torch.float64)
        cut: list[str | None] = [None] * len(texts)
        for read, around in both.values() if self.direction == "both" else [both[self.direction]]:
            words = around if self.denial else around[:1]
            found, left_out = read(self.judge, words, texts, pair, self.batch_size)
            nats += found
            cut = [new or old for new, old in zip(left_out, cut, strict=True)]
        return nats, cut


def _text_first(
    judge: LM, frames: Sequence[Frame], texts: Sequence[str], pair: tuple[str, str], batch_size: int
) -> tuple[Tensor, list[str | None]]:
    """How much likelier a token of the claim is after each text than one of its opposite.

    Less the same in the words of who denies the text, where there are such.
    """
    resident = judge.resident
    rests = [frame.rest(resident) for frame in frames]
    poles = [frames[0].read(resident, statement) for statement in pair]
    # One tree behind each text: every rest with every pole, and every rest alone.
    read = [[*rest, *pole] for rest in rests for pole in poles] + [rest for rest in rests if rest]
    limit = resident.context_length
    room = None if limit is None else limit - max(map(len, read))
    openings = [frames[0].opening(resident, text, room) for text in texts]
    found = continuation_likelihoods(judge, [o.ids for o in openings], read, batch_size=batch_size)
    means = found.nats_per_token
    nats = torch.zeros(len(texts), dtype=torch.float64)
    for k, (rest, sign) in enumerate(zip(rests, _SIGNS, strict=False)):
        claim, against = means[:, 2 * k], means[:, 2 * k + 1]
        if rest:
            alone = means[:, 2 * len(rests) + k]
            claim, against = (
                _behind(mean, alone, len(rest), len(pole))
                for mean, pole in zip((claim, against), poles, strict=True)
            )
        nats += sign * (claim - against)
    cut = [_cut(o.length, o.cut + more) for o, more in zip(openings, found.cut, strict=True)]
    return nats, cut


def _behind(both: Tensor, first: Tensor, length: int, more: int) -> Tensor:
    """Mean of the later `more` tokens, from the mean of all and that of the first `length`."""
    return (both * (length + more) - first * length) / more


def _pole_first(
    judge: LM, frames: Sequence[Frame], texts: Sequence[str], pair: tuple[str, str], batch_size: int
) -> tuple[Tensor, list[str | None]]:
    """How much likelier a token of each text is after the claim than after its opposite; 0 for no text.

    Less the same in the words of who denies the statements, where there are such.
    """
    resident = judge.resident
    prefixes = [
        [*frame.opening(resident, statement).ids, *frame.rest(resident)]
        for frame in frames
        for statement in pair
    ]
    limit = resident.context_length
    room = None if limit is None else limit - max(map(len, prefixes))
    if room is not None and room < 2:
        raise UserError(
            f"The statements take up to {max(map(len, prefixes))} tokens with the words around them, which "
            f"leaves no room for a text in the context of {resident.name} ({limit} tokens); shorten them."
        )
    whole = [frames[0].read(resident, text) if text.strip() else [] for text in texts]
    kept = [ids if room is None else ids[max(0, len(ids) - room) :] for ids in whole]
    nats = torch.zeros(len(texts), dtype=torch.float64)
    said = [i for i, ids in enumerate(kept) if ids]
    for rows in _alike(said, kept):
        means = continuation_likelihoods(judge, prefixes, [kept[i] for i in rows], batch_size=batch_size)
        pairs = means.nats_per_token.view(len(frames), 2, len(rows))
        signs = torch.tensor(_SIGNS[: len(frames)], dtype=torch.float64)
        nats[torch.tensor(rows)] = signs @ (pairs[:, 0] - pairs[:, 1])
    return nats, [_cut(len(w), len(w) - len(k)) for w, k in zip(whole, kept, strict=True)]


def _alike(rows: Sequence[int], texts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Texts that are read as one tree, those that begin alike together: a shared prompt is read once."""
    part: list[int] = []
    nodes = 0
    for row in sorted(rows, key=lambda row: tuple(texts[row])):
        shared = _shared(texts[part[-1]], texts[row]) if part else 0
        nodes += len(texts[row]) - shared
        if part and nodes > _TREE:
            yield part
            part, nodes = [], len(texts[row])
        part.append(row)
    if part:
        yield part


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    differ = (k for k, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    return next(differ, min(len(one), len(other)))


def _cut(length: int, cut: int) -> str | None:
    if not cut:
        return None
    return f"only the last {length - cut} of {length} tokens fit in the judge's context"


def _to_score(value: float, cut: str | None) -> Score:
    if not math.isfinite(value):
        return Score.unscored("the judge's log-likelihoods of the text and the statements are not finite")
    return Score(value, cut)
