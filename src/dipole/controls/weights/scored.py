"""Texts in segments with what a recognizer says of each: what controls learn from that weigh their texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from dipole.controls.weights.lessons import ending
from dipole.controls.weights.loop import Place
from dipole.controls.weights.rollout import gather, priors, sample_rows, share
from dipole.corpora.corpus import open_corpus
from dipole.corpora.passages import sentences
from dipole.protocols import LM, Recognizer
from dipole.types import Score, UserError

By = Literal["sentence", "text"]
_SAMPLED = 64  # completions a forward while the texts are drawn


class Written(NamedTuple):
    """A text as it stands.

    Attributes:
        prompt: What it answers; empty where it starts by itself.
        text: What it says.
        joint: What stands between the two where both are read as one.
        ended: Whether it ends there, and was not cut.
        id: What a message calls it.
        reward: How good somebody says that it is; None where nobody did.
    """

    prompt: str
    text: str
    joint: str = ""
    ended: bool = True
    id: str = ""
    reward: float | None = None


class Segment(NamedTuple):
    """A sentence, or a whole text.

    Attributes:
        token_ids: Its tokens; the last of a text that ended has the end-of-text token.
        probability: Of the claim, from 0 to 1; NaN where the recognizer has nothing to say.
    """

    token_ids: list[int]
    probability: float


class Scored(NamedTuple):
    """A text to learn from.

    Attributes:
        prompt_ids: What stands in front and is not learned.
        segments: The text.
    """

    prompt_ids: list[int]
    segments: list[Segment]

    @property
    def probability(self) -> float:
        """Mean over the segments that have one; NaN where none has."""
        known = [s.probability for s in self.segments if not math.isnan(s.probability)]
        return sum(known) / len(known) if known else math.nan


def given(path: str) -> list[Written]:
    """The texts of a file or folder.

    Raises:
        UserError: There is none.
    """
    return [Written(d.prompt, d.text, id=d.id, reward=d.reward) for d in open_corpus(path)]


def own(
    place: Place, prompts: Sequence[str], total: int, unprompted: float, seed: int, max_new_tokens: int
) -> list[Written]:
    """What the model itself writes, told nothing, on every process.

    Args:
        place: Where it is drawn; the adapter is off meanwhile.
        prompts: Continued in turn.
        total: How many texts.
        unprompted: Share of them that continue nothing.
        seed: Of the draw.
        max_new_tokens: Token budget of a text.
    """
    free = round(total * unprompted)
    asked = [prompts[row % len(prompts)] for row in range(total - free)] + [""] * free
    mine = share(total, place.accelerator)
    with place.model.disable_adapter():
        told = [asked[row] for row in mine]
        drawn = sample_rows(place.lm, told, mine, 0, seed, max_new_tokens, _SAMPLED)
    samples = gather(drawn, mine, place.accelerator)
    return [Written(s.prompt, s.text, s.joint, s.finish_reason == "eos") for s in samples if s.text.strip()]


def pieces(text: str, by: By) -> list[str]:
    """The segments of a text; joined they are the text."""
    return sentences(text) if by == "sentence" else [text]


def probabilities(
    texts: Sequence[Written], by: By, recognizer: Recognizer, concept: Any, centre: bool
) -> list[list[float]]:
    """Probability of the claim for each segment of each text, by what stands up to the segment's end.

    A sentence alone often does not say what it is about ("They never let me down."), so it is read with all
    that stands before it.

    Args:
        texts: The texts.
        by: What a segment is.
        recognizer: Reads them.
        concept: What is wanted.
        centre: Subtract the log-odds of the prompt alone.
    """
    read, less = [], []
    before = priors([t.prompt for t in texts if t.prompt], recognizer, concept) if centre else {}
    for text in texts:
        so_far = text.prompt + text.joint
        for piece in pieces(text.text, by):
            so_far += piece
            read.append(so_far)
            less.append(before.get(text.prompt, 0.0))
    scores = recognizer.score(read, concept)
    found = iter([Score(s.value - by_).probability for s, by_ in zip(scores, less, strict=True)])
    return [[next(found) for _ in pieces(text.text, by)] for text in texts]


def encoded(
    lm: LM, texts: Sequence[Written], chances: Sequence[Sequence[float]], by: By, most: int
) -> list[Scored]:
    """Texts as token ids.

    Args:
        lm: The LM.
        texts: The texts.
        chances: Probability of each segment.
        by: What a segment is.
        most: Tokens of a text, its prompt among them, behind which it is cut off.

    Raises:
        UserError: A prompt leaves no room for its text.
    """
    resident, found = lm.resident, []
    most = min(most, resident.context_length or most)
    end = ending(resident)
    for text, of in zip(texts, chances, strict=True):
        prompt = lm.prompt_ids(text.prompt)
        room = most - len(prompt)
        if room < 1:
            raise UserError(
                f"The prompt {text.prompt[:60]!r} has {len(prompt)} tokens, which leaves nothing of its text "
                f"within {most}; shorten it, or raise max_length."
            )
        parts = [resident.continuation_ids(piece) for piece in pieces(text.text, by)]
        if text.ended and parts:
            parts[-1] = [*parts[-1], *end]
        segments = []
        for ids, chance in zip(parts, of, strict=True):
            ids = ids[:room]
            room -= len(ids)
            if ids:
                segments.append(Segment(ids, chance))
        if segments:
            found.append(Scored(prompt, segments))
    return found
