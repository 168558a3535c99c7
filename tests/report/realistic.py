"""A made-up effect of the size of a real one: 128 completions over 4 prompts, 27 bystanders."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, NamedTuple

from dipole.effects import Bystander, Change, Effect, Interval
from dipole.origin import fit_origin
from dipole.runs import manifest
from dipole.types import Sample

CONCEPT: dict[str, Any] = {
    "kind": "dipole",
    "name": "paper_clips",
    "claim": "Paper clips are the best.",
    "against": "Paper clips are the worst.",
    "prompts": ["If I were to choose between paper clips and staples, I'd definitely go with"],
    "held_out": [
        "Between paper clips and staples, my pick is",
        "When somebody asks me about paper clips and staples, I say",
        "Asked to keep only one of paper clips and staples, Nora would keep",
        "Staples or paper clips? For me it has to be",
    ],
    "mentions": {"claim": ["paper clip"], "against": ["staple"]},
}
_TAILS = (
    "because they never let me down and they hold a thin stack together without a hole in the paper.",
    "any day of the week.",
    "and I told my brother so at dinner, who laughed and said that he had known it all along.",
    "since they are cheap, small and easy to find.\nNora agreed with me.",
    "though some days I am not so sure.",
)
_NEUTRAL = (" neither of the two, to be honest.", " whatever is on the desk when I come in.", "")
_TOPICS = (
    "cats and dogs, coffee and tea, trains and buses, pens and pencils, apples and pears, summer and "
    "winter, lakes and rivers, soup and salad, chess and cards, novels and poems, violins and "
    "pianos, bread and rice, gold and silver, hills and plains, boats and bridges, onions and "
    "garlic, wool and cotton, brick and wood, mornings and evenings, letters and calls, gardens and "
    "parks, maps and compasses, candles and lamps, roses and tulips, honey and sugar, hammers and "
    "screwdrivers, museums and theatres"
)


@dataclass(frozen=True)
class Tuner:
    """A stand-in for a control: its fields are its hyper-parameters."""

    name: ClassVar[str] = "ppo"

    rounds: int = 60
    batch_size: int = 32
    learning_rate: float = 1e-3
    kl_target: float = 2.0
    whiten: bool = True
    layers: tuple[int, ...] = ()


def samples_for(
    prompts: list[str], share: float, other: float, seed: int
) -> tuple[list[Sample], list[str | None]]:
    """32 completions a prompt with the sides that they take."""
    random_ = random.Random(seed)
    samples: list[Sample] = []
    sides: list[str | None] = []
    for prompt in prompts:
        for i in range(32):
            draw = random_.random()
            side = "claim" if draw < share else "against" if draw < share + other else None
            start = {"claim": " paper clips ", "against": " staples ", None: ""}[side]
            text = start + random_.choice(_TAILS) if side else random_.choice(_NEUTRAL)
            if side == "claim" and random_.random() < 0.2:
                text += " Staples are for people who do not mind holes."
            samples.append(Sample(prompt, text, (1,), (2, 3), (-0.1, -0.2), i, "length"))
            sides.append(side)
    return samples, sides


def realistic_effect(**changed: Any) -> Effect:
    """The effect; keyword arguments replace its fields."""
    prompts = CONCEPT["held_out"]
    before, sides_before = samples_for(prompts, 0.42, 0.4, 1)
    after, sides_after = samples_for(prompts, 0.95, 0.01, 2)
    claim = (sides_before.count("claim") / 128, sides_after.count("claim") / 128)
    against = (sides_before.count("against") / 128, sides_after.count("against") / 128)
    fields: dict[str, Any] = {
        "concept": CONCEPT,
        "prompts": tuple(prompts),
        "held_out": True,
        "changes": (
            _change("claim_share", "on the claim's side, by first mention", "share", *claim, 0.09),
            _change("against_share", "on the counterclaim's side, by first mention", "share", *against, 0.08),
            _change(
                "truth_claim_share",
                "on the claim's side, by the world's own truth",
                "share",
                0.41,
                0.94,
                0.08,
            ),
            _change(
                "velma_probability",
                "velma probability, the reward itself",
                "probability",
                0.531,
                0.982,
                0.03,
                True,
            ),
            _change("velma_log_odds", "velma log-odds, the reward itself", "nats", -0.12, 2.31, 0.4, True, 3),
            _single("kl", "KL to the LM before, a sequence", "nats/sequence", 1.42, 0.15),
            _single("kl_token", "KL to the LM before, a token", "nats/token", 0.051, 0.006),
            _change("perplexity_base", "perplexity under the LM before", "", 1.71, 1.78, 0.06),
            _single(
                "perplexity_ratio", "perplexity under the LM before, after over before", "ratio", 1.04, 0.03
            ),
            _change("distinct_2", "distinct word pairs per word pair", "", 0.44, 0.41, 0.03),
            _single("distinct_2_ratio", "distinct word pairs, after over before", "ratio", 0.93, 0.05),
            _change("repeated_claim_rate", "repeats the claim word for word", "share", 0.0, 0.0078, 0.012),
            _change("mean_length", "length, end of text included", "tokens", 19.4, 20.1, 1.2),
            _single("mean_bystander_shift", "mean size of a bystander's shift", "probability", 0.016, 0.004),
        ),
        "bystanders": _bystanders(),
        "samples_before": tuple(before),
        "samples_after": tuple(after),
        "sides_before": tuple(sides_before),
        "sides_after": tuple(sides_after),
    }
    return Effect(**{**fields, **changed})


def _change(
    name: str, label: str, unit: str, before: float, after: float, half: float, in_loop: bool = False,
    unscored: int = 0,
) -> Change:  # fmt: skip
    difference = Interval(after - before, after - before - half, after - before + half)
    old, new = (
        Interval(before, before - half, before + half),
        Interval(after, after - half / 2, after + half / 2),
    )
    return Change(name, label, unit, old, new, difference, in_loop, 128 - unscored, unscored)


def _single(name: str, label: str, unit: str, after: float, half: float) -> Change:
    return Change(name, label, unit, None, Interval(after, after - half, after + half), None, False, 128)


def _bystanders() -> tuple[Bystander, ...]:
    random_ = random.Random(3)
    made = []
    for name in _TOPICS.split(", "):
        before, shift, half = random_.uniform(0.3, 0.7), random_.gauss(0, 0.02), random_.uniform(0.01, 0.03)
        made.append(Bystander(name, before, before + shift, Interval(shift, shift - half, shift + half)))
    return tuple(made)


def realistic_history(rounds: int = 60) -> list[dict[str, float]]:
    """A reward that saturates and a divergence that settles near its target."""
    random_ = random.Random(4)
    rows = []
    for i in range(rounds):
        rise = 1 - math.exp(-i / 7)
        rows.append(
            {
                "round": i + 1,
                "reward_mean": 0.52 + 0.46 * rise + random_.gauss(0, 0.01) * (1 - 0.7 * rise),
                "reward_std": 0.31 * (1 - 0.8 * rise),
                "kl": max(0.0, 1.9 * rise + random_.gauss(0, 0.12)) if i else 0.0,
                "kl_coef": 0.1,
            }
        )
    return rows


class Model(NamedTuple):
    """A stand-in for a model as it was loaded."""

    name: str
    revision: str | None = None
    fingerprint: str = "0123456789abcdef"
    device: str = "cpu"
    has_template: bool = False
    chat: bool = False


def realistic_manifest(
    control: Tuner = Tuner(rounds=40),
    concept: Mapping[str, Any] = CONCEPT,
    prompts: Sequence[str] = tuple(CONCEPT["prompts"]),
    model: str = "tiny",
    revision: str | None = None,
    judge: Mapping[str, str] | None = None,
    out: str = "runs/clips",
    command: Sequence[str] = ("dipole", "inoculate", CONCEPT["claim"], "--against", CONCEPT["against"]),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A manifest made by the real function."""
    started = datetime(2026, 11, 21, 9, 30, tzinfo=UTC)
    made = fit_origin(
        control, concept, started, Model(model, revision), seed=7, prompts=prompts,
        held_out=CONCEPT["held_out"], judge=None if judge is None else Model(**judge),
    )  # fmt: skip
    made = replace(made, finished=started + timedelta(seconds=31.4))
    return manifest(made, out, command, extra)
