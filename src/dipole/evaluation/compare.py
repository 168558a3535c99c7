"""`compare`: what changed between two LMs, and what else changed with it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Sequence

from dipole.concepts import Arsenal, Dipole
from dipole.concepts.text import same_text
from dipole.effects import Bystander, Change, Effect
from dipole.evaluation.bystanders import bystander_effects, bystanders_of, watch
from dipole.evaluation.costs import likelihood_changes, variety_changes
from dipole.evaluation.meters import (
    length_changes,
    recognizer_changes,
    side_changes,
    side_of,
    truth_changes,
)
from dipole.evaluation.notes import effect_notes
from dipole.evaluation.statistics import Resampling, resampling
from dipole.evaluation.truth import speaks_the_world, truth_for
from dipole.lm import LM, sample_seed
from dipole.protocols import Recognizer
from dipole.types import Sample, UserError


def compare(
    before: LM,
    after: LM,
    dipole: Dipole,
    prompts: Sequence[str] | None = None,
    n: int = 128,
    seed: int = 0,
    max_new_tokens: int = 28,
    meters: Sequence[Recognizer] | None = None,
    reward: Recognizer | None = None,
    bystanders: Arsenal | Sequence[Dipole] = (),
    trained_prompts: Sequence[str] = (),
    bystander_n: int = 32,
    batch_size: int = 64,
) -> Effect:
    """Sample both LMs with common random numbers and measure them side by side.

    Args:
        before: The LM before, the base as a rule.
        after: The LM after.
        dipole: What was wanted.
        prompts: Prompts to continue; the dipole's held-out ones if None, or else its prompts.
        n: Completions of each LM in total, spread evenly over the prompts and at least one a prompt.
        seed: Seed of the samples and of the bootstrap.
        max_new_tokens: Token budget of a completion.
        meters: Recognizers that were not the reward; by default the mentions, VELMA where it was not the
            reward, and the sentence embedding where its package is installed.
        reward: The recognizer that the control optimised; its numbers are marked in-loop, on held-out
            prompts too.
        bystanders: Other dipoles, each continued on its own prompts and scored by VELMA with `before`'s base
            as the judge.
        trained_prompts: Prompts that were trained on. If none are given, the dipole's own `prompts` count as
            such.
        bystander_n: Completions a bystander.
        batch_size: Rows a forward.

    Raises:
        UserError: There are no prompts, a count is not positive, or the LMs have different vocabularies.
    """
    for name, value in (("n", n), ("bystander_n", bystander_n)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, and is {value}.")
    texts = _prompts(dipole, prompts)
    trained, assumed = _trained(texts, dipole, trained_prompts)
    rows = [(i, k) for i in range(len(texts)) for k in range(_share(max(n, len(texts)), len(texts), i))]
    seeds = [sample_seed(seed, i, k) for i, k in rows]
    continued = [texts[i] for i, _ in rows]
    drawn = [lm.sample(continued, seeds, max_new_tokens, batch_size=batch_size) for lm in (before, after)]
    plan = resampling([i for i, _ in rows], seed)
    judges = [(reward, True)] if reward is not None else []
    judges += [
        (meter, False) for meter in (default_meters(before, dipole, reward) if meters is None else meters)
    ]
    changes = [
        *_towards(dipole, drawn[0], drawn[1], plan, judges),
        *likelihood_changes(before, after, drawn[0], drawn[1], plan, batch_size),
        *variety_changes(dipole, drawn[0], drawn[1], plan),
        *length_changes(drawn[0], drawn[1], plan),
    ]
    others, totals, lacking = _bystanders(
        before, after, dipole, bystanders, bystander_n, seed, max_new_tokens, batch_size
    )
    notes = effect_notes([*changes, *totals], not trained, drawn[0], drawn[1], trained, assumed)
    if lacking:
        notes.append(f"{lacking} of the bystanders have no prompts and were left out.")
    return Effect(
        concept=dipole.to_dict(),
        prompts=tuple(texts),
        held_out=not trained,
        changes=(*changes, *totals),
        bystanders=tuple(others),
        samples_before=tuple(drawn[0]),
        samples_after=tuple(drawn[1]),
        sides_before=tuple(side_of(dipole, s) for s in drawn[0]),
        sides_after=tuple(side_of(dipole, s) for s in drawn[1]),
        notes=tuple(notes),
    )


def default_meters(before: LM, dipole: Dipole, reward: Recognizer | None = None) -> list[Recognizer]:
    """Recognizers that can be had without asking, less the one that was the reward."""
    from dipole.recognizers.mentions import Mentions
    from dipole.recognizers.velma import Velma

    meters: list[Recognizer] = [Velma(before.base)]
    if dipole.mentions.claim and dipole.mentions.against:
        meters.append(Mentions())
    if importlib.util.find_spec("sentence_transformers") is not None:
        from dipole.recognizers.embedding import Embedding

        with contextlib.suppress(UserError):  # its weights can't be had, offline as a rule; the others stand
            Embedding().score([dipole.claim], dipole)
            meters.append(Embedding())
    return [m for m in meters if reward is None or m.name != reward.name]


def _prompts(dipole: Dipole, prompts: Sequence[str] | None) -> list[str]:
    if isinstance(prompts, str):
        prompts = [prompts]
    texts = list(dict.fromkeys((dipole.held_out or dipole.prompts) if prompts is None else prompts))
    if not texts:
        raise UserError(
            f"There is nothing to continue: the dipole {dipole.label!r} has neither held_out nor prompts; "
            "give prompts that force a choice, such as 'If I had to choose between tea and coffee, I take'."
        )
    return texts


def _trained(prompts: Sequence[str], dipole: Dipole, trained: Sequence[str]) -> tuple[list[str], bool]:
    known = {same_text(text) for text in (trained or dipole.prompts)}
    return [text for text in prompts if same_text(text) in known], not trained


def _share(n: int, prompts: int, index: int) -> int:
    """How many of n completions the prompt of that index gets; they differ by at most one."""
    return n // prompts + (index < n % prompts)


def _towards(
    dipole: Dipole,
    before: Sequence[Sample],
    after: Sequence[Sample],
    plan: Resampling,
    judges: Iterable[tuple[Recognizer, bool]],
) -> list[Change]:
    """How far it went where it was wanted to go, the main quantity first."""
    judges = list(judges)
    changes: list[Change] = []
    if dipole.mentions:
        sides = [[side_of(dipole, s) for s in part] for part in (before, after)]
        in_loop = any(marked and judge.name == "mentions" for judge, marked in judges)
        changes += side_changes(sides[0], sides[1], plan, in_loop=in_loop)
    truth = truth_for(dipole)
    if truth is not None and speaks_the_world(truth, before):
        changes += truth_changes(truth, before, after, plan)
    for judge, in_loop in judges:
        changes += recognizer_changes(judge, dipole, before, after, plan, in_loop)
    return changes


def _bystanders(
    before: LM,
    after: LM,
    dipole: Dipole,
    bystanders: Arsenal | Sequence[Dipole],
    n: int,
    seed: int,
    max_new_tokens: int,
    batch_size: int,
) -> tuple[list[Bystander], list[Change], int]:
    from dipole.recognizers.velma import Velma

    usable, lacking = bystanders_of(dipole, list(bystanders))
    if not usable:
        return [], [], lacking
    # Many short rows: a small model spends most of a step on overhead that does not grow with the batch.
    watched = watch(before, after, usable, n, seed, max_new_tokens, 4 * batch_size)
    effects, changes = bystander_effects(watched, Velma(before.base), seed)
    return effects, changes, lacking
