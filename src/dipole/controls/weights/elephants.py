"""Answers that name what they should not, and their revisions: what direct principle feedback learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from dipole.concepts import Avoid
from dipole.concepts.avoid_prompts import OPENINGS, QUESTIONS, asked, fill
from dipole.controls.weights.revisions import (
    AGAIN,
    EMPTY,
    UNNAMED,
    LeftOut,
    Limits,
    edit_similarity,
    nameless,
    swapped,
    why_not,
)
from dipole.controls.weights.rollout import gather, share
from dipole.corpora.preferences import Prompt
from dipole.interventions.prompt import Prefix
from dipole.protocols import LM
from dipole.types import Sample, sample_seed

WAYS = ("model", "nearest", "swap")
_SAMPLED = 64  # answers a forward
_CRITIQUE = 32  # tokens
_CRITICISE = (
    'You were told: "{told}"\nYou were asked: {prompt}\nYou answered: {answer}\n\n'
    "Say in one sentence where this answer mentions {avoid}, and what it should say instead."
)
_REVISE = (
    'You were told: "{told}"\nYou were asked: {prompt}\nYou answered: {answer}\nThe critique: {critique}\n\n'
    "Write the answer again so that it speaks of {instead} and nowhere mentions {avoid}. Change as few words "
    "as you can. Write the answer alone."
)


class Drawing(Limits, Protocol):
    """What a control says of the answers that the model writes."""

    @property
    def completions(self) -> int: ...  # noqa: D102
    @property
    def per_context(self) -> int: ...  # noqa: D102
    @property
    def max_new_tokens(self) -> int: ...  # noqa: D102
    @property
    def dialogue(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102


class Context(NamedTuple):
    """What stands in front of an answer.

    Attributes:
        avoid: What the model is told to avoid.
        prompt: What the user says, or the text that is gone on with.
        turns: What was said and answered before.
    """

    avoid: Avoid
    prompt: str
    turns: tuple[tuple[str, str], ...] = ()

    def front(self, chat: bool) -> Prompt:
        """The same as a row of a file has it, so that learning from the file is learning from this."""
        if chat:
            return Prompt(self.prompt, self.avoid.told, self.turns, chat=True)
        return Prompt(f"{self.avoid.told} {self.prompt}".rstrip(" "))


class Revised(NamedTuple):
    """An answer and what it should have been.

    Attributes:
        context: What stood in front.
        original: The answer that names what to avoid.
        text: The revision.
        ids: Its token ids, where the model wrote it behind this context; None where they are to be made.
        cut: Whether the revision goes on behind its end.
        by: Which of `WAYS` it was made in.
    """

    context: Context
    original: Sample
    text: str
    ids: tuple[int, ...] | None
    cut: bool
    by: str


def contexts_of(lm: LM, avoids: Sequence[Avoid], drawing: Drawing) -> list[Context]:
    """Contexts for so many answers, the avoided things in turn, each with its prompts in turn.

    A model that chats is asked questions, behind a dialogue where the control wants one.
    """
    wanted = -(-drawing.completions // drawing.per_context)
    used = avoids[:wanted]
    chat, found = lm.resident.chat, []
    turns = {a: _opened(lm, a, drawing) if chat and drawing.dialogue else () for a in used}
    for number in range(wanted):
        avoid = used[number % len(used)]
        prompts = asked(avoid.prompts, QUESTIONS, avoid.avoid, avoid.instead) if chat else avoid.prompts
        found.append(Context(avoid, prompts[(number // len(used)) % len(prompts)], turns[avoid]))
    return found


def _opened(lm: LM, avoid: Avoid, drawing: Drawing) -> tuple[tuple[str, str], ...]:
    """The beginning of a dialogue by plan: questions about what to speak of, and the model's answers."""
    turns: tuple[tuple[str, str], ...] = ()
    for number, question in enumerate(fill(OPENINGS, avoid.avoid, avoid.instead)[: drawing.dialogue]):
        told = lm.with_intervention(Prefix(avoid.told, turns), 1.0)
        seed = sample_seed(drawing.seed, 1, number)
        (answer,) = told.sample([question], [seed], drawing.max_new_tokens)
        turns = (*turns, (question, answer.text.strip() or "Well."))
    return turns


@torch.no_grad()
def answers(lm: LM, contexts: Sequence[Context], drawing: Drawing, accelerator: Any) -> list[list[Sample]]:
    """`per_context` answers of each context, by the model told what to avoid; whole on every process."""
    total = len(contexts) * drawing.per_context
    mine = share(total, accelerator)
    found: dict[int, Sample] = {}
    groups: dict[tuple[str, tuple[tuple[str, str], ...]], list[int]] = {}
    for row in mine:
        context = contexts[row // drawing.per_context]
        key = (context.avoid.told, context.turns) if lm.resident.chat else ("", ())
        groups.setdefault(key, []).append(row)
    for (told, turns), rows in groups.items():
        writer = lm.with_intervention(Prefix(told, turns), 1.0) if told else lm
        asked_for = [contexts[row // drawing.per_context].front(lm.resident.chat).text for row in rows]
        for prompt in dict.fromkeys(asked_for):
            writer.require_room(prompt, drawing.max_new_tokens)
        seeds = [sample_seed(drawing.seed, 0, row) for row in rows]
        samples = writer.sample(asked_for, seeds, drawing.max_new_tokens, batch_size=_SAMPLED)
        found.update(zip(rows, samples, strict=True))
    whole = gather([found[row] for row in mine], mine, accelerator)
    per = drawing.per_context
    return [whole[start : start + per] for start in range(0, total, per)]


def revise(
    lm: LM,
    contexts: Sequence[Context],
    drawn: Sequence[Sequence[Sample]],
    ways: Sequence[str],
    drawing: Drawing,
) -> tuple[list[Revised], list[LeftOut]]:
    """For each answer that names what to avoid the first revision that may be learned; else why not.

    Args:
        lm: The model, told nothing; it criticises and rewrites where `model` is among the ways.
        contexts: What stood in front.
        drawn: The answers of each.
        ways: Which of `WAYS`, in the order in which they are tried.
        drawing: Has the limits.
    """
    wrong = [
        (context, one, group)
        for context, group in zip(contexts, drawn, strict=True)
        for one in group
        if context.avoid.named(one.text)[1]
    ]
    again = _rewritten(lm, [(c, one) for c, one, _ in wrong], drawing) if "model" in ways else []
    found: list[Revised] = []
    left: list[LeftOut] = [
        LeftOut(context.avoid.told, context.prompt, one.text, "", UNNAMED)
        for context, group in zip(contexts, drawn, strict=True)
        for one in group
        if not context.avoid.named(one.text)[1]
    ]
    seen: set[tuple[Context, str, str]] = set()
    for number, (context, one, group) in enumerate(wrong):
        last = ("", EMPTY)
        for made in _candidates(context, one, group, ways, again[number : number + 1]):
            last = made.text, why_not(one.text, made.text, context.avoid, drawing)
            if not last[1] and (context, one.text, made.text) in seen:
                last = made.text, AGAIN
                break
            if not last[1]:
                seen.add((context, one.text, made.text))
                found.append(made)
                break
        if last[1]:
            left.append(LeftOut(context.avoid.told, context.prompt, one.text, *last))
    return found, left


def _candidates(
    context: Context, one: Sample, group: Sequence[Sample], ways: Sequence[str], again: Sequence[Sample]
) -> Iterator[Revised]:
    avoid = context.avoid
    for way in ways:
        if way == "model":
            for s in again:
                cut = s.finish_reason == "length"
                yield Revised(context, one, _as_begun(one.text, s.text), None, cut, way)
        elif way == "nearest":
            words = nameless(one.text, avoid)
            good = [other for other in group if avoid.named(other.text) == (True, False)]
            good.sort(key=lambda other: -edit_similarity(words, nameless(other.text, avoid)))
            for s in good[:1]:
                yield Revised(context, one, s.text, s.token_ids, s.finish_reason == "length", way)
        elif text := swapped(one.text, avoid):
            yield Revised(context, one, text, None, one.finish_reason == "length", way)


def _as_begun(original: str, text: str) -> str:
    """A rewritten text with the blank that its original begins with, or none."""
    return original[: len(original) - len(original.lstrip())] + text.strip()


@torch.no_grad()
def _rewritten(lm: LM, wrong: Sequence[tuple[Context, Sample]], drawing: Drawing) -> list[Sample]:
    """The model's own revisions behind its own critiques; the same on every process."""
    facts = [
        {
            "told": context.avoid.told,
            "prompt": context.prompt,
            "answer": one.text.strip(),
            "avoid": context.avoid.avoid,
            "instead": context.avoid.instead,
        }
        for context, one in wrong
    ]
    seeds = [sample_seed(drawing.seed, 2, number) for number in range(len(wrong))]
    first = lm.sample([_CRITICISE.format(**f) for f in facts], seeds, _CRITIQUE, batch_size=_SAMPLED)
    told = [_REVISE.format(**f, critique=" ".join(s.text.split())) for f, s in zip(facts, first, strict=True)]
    return lm.sample(told, seeds, drawing.max_new_tokens, batch_size=_SAMPLED)
