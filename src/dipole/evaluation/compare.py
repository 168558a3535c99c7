"""`compare`: what changed between two LMs, and what else changed with it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Sequence

from dipole.concepts import Dipole
from dipole.concepts.text import same_text
from dipole.effects import Effect
from dipole.evaluation.bench import COSTS, TOWARDS, families_of, make_bench, prompts_of, sorted_out
from dipole.evaluation.effect_origin import Pair, effect_origin
from dipole.evaluation.meters.bystanders import bystanders_of, watch
from dipole.evaluation.meters.protocol import Judge, Meter
from dipole.evaluation.notes import effect_notes
from dipole.origin import now
from dipole.protocols import LM, Recognizer
from dipole.registry import make_recognizer
from dipole.types import UserError


def compare(
    before: LM,
    after: LM,
    dipole: Dipole,
    prompts: Sequence[str] | None = None,
    n: int = 128,
    seed: int = 0,
    max_new_tokens: int = 28,
    meters: Sequence[Recognizer | Meter | str] | None = None,
    reward: Recognizer | None = None,
    bystanders: Iterable[Dipole] = (),
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
        meters: What to measure beside the sides taken, likelihood, variety and length: recognizers that were
            not the reward, meters (see `evaluation.meters.protocol`), or names of meters that other packages
            offer. By default those of `default_meters`.
        reward: The recognizer that the control optimised; its numbers are marked in-loop, on held-out
            prompts too.
        bystanders: Other dipoles, each continued on its own prompts and scored by VELMA with `before`'s base
            as the judge.
        trained_prompts: Prompts that were trained on. If none are given, the dipole's own `prompts` count as
            such.
        bystander_n: Completions a bystander.
        batch_size: Rows a forward.

    Raises:
        UserError: There are no prompts, a count is not positive, there is no meter of a name, or the LMs have
            different vocabularies.
    """
    started, pair = now(), Pair(n, max_new_tokens, bystander_n)
    for name, value in (("n", n), ("bystander_n", bystander_n)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, and is {value}.")
    texts = prompts_of(dipole, prompts)
    trained = _trained(texts, dipole, trained_prompts)
    judges, others = sorted_out(default_meters(before, dipole, reward) if meters is None else meters)
    if reward is not None:
        judges.insert(0, Judge(reward, in_loop=True))
    bench = make_bench(
        before, dipole, texts, [*families_of((*TOWARDS, *COSTS)), *others], judges, n, seed, max_new_tokens,
        batch_size, optimised=() if reward is None else (reward.name,),
    )  # fmt: skip
    found = bench.read([after])
    changes = bench.changes(found)
    judge = Judge(make_recognizer("velma", before.base))
    usable, lacking = bystanders_of(dipole, bystanders)
    watched = watch(before, usable, judge, bystander_n, seed, max_new_tokens, batch_size)
    shifted, totals = watched.effects(after)
    changes += totals
    old, new = bench.base.samples, found.samples
    towards = {meter.name for meter in found.meters if meter.direction == "higher"}
    notes = effect_notes(changes, not trained, old, new, trained, not trained_prompts, towards)
    if lacking:
        notes.append(f"{lacking} of the bystanders have no prompts and were left out.")
    return Effect(
        concept=dipole.to_dict(),
        prompts=tuple(texts),
        held_out=not trained,
        changes=tuple(changes),
        bystanders=tuple(shifted),
        samples_before=old,
        samples_after=new,
        sides_before=tuple(dipole.side_taken(s.text) for s in old),
        sides_after=tuple(dipole.side_taken(s.text) for s in new),
        notes=tuple(notes),
        origin=effect_origin(before, after, dipole, pair, texts, seed, started),
    )


def default_meters(before: LM, dipole: Dipole, reward: Recognizer | None = None) -> list[Recognizer]:
    """Recognizers that can be had without asking, less the one that was the reward."""
    names = ["velma"]
    if dipole.mentions.claim and dipole.mentions.against:
        names.append("mentions")
    meters: list[Recognizer] = [make_recognizer(name, before.base) for name in names]
    if importlib.util.find_spec("sentence_transformers") is not None:
        with contextlib.suppress(UserError):  # its weights can't be had, offline as a rule; the others stand
            embedding = make_recognizer("embedding", before.base)
            embedding.score([dipole.claim], dipole)
            meters.append(embedding)
    return [m for m in meters if reward is None or m.name != reward.name]


def _trained(prompts: Sequence[str], dipole: Dipole, trained: Sequence[str]) -> list[str]:
    known = {same_text(text) for text in (trained or dipole.prompts)}
    return [text for text in prompts if same_text(text) in known]
