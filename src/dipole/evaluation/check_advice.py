"""What follows from what `check` measured, in plain words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dipole.evaluation.check_record import Judged
from dipole.reading.choice import Choice
from dipole.shown.numbers import number, plain_bounds

FEW = 0.2
"""A prompt whose completions take a side less often tells next to nothing."""
MOST = 0.5
"""Share of texts at the end of the scale beyond which a reward shows no more change."""
FLAT = 0.5
"""Nats a token below which completions of one prompt are nearly the same text."""


LIKELIHOODS = frozenset({"velma", "stance"})
"""Recognizers that ask the same likelihoods in other words: what pleases one pleases the other."""


def chosen(judged: Sequence[Judged]) -> tuple[str | None, str | None]:
    """The recognizer to be steered with, and another to judge the result: the two that tell most apart.

    Only those whose interval lies above a coin's; of a tie the first. The other is of another kind than the
    first where there is one.
    """
    ranked = sorted(
        (row for row in judged if row.best.mean > 0.5 and not row.best.low <= 0.5),
        key=lambda row: -row.best.mean,
    )
    names = [row.name for row in ranked]
    if not names:
        return None, None
    others = [name for name in names[1:] if not {name, names[0]} <= LIKELIHOODS] or names[1:]
    return names[0], (others[0] if others else None)


def advice_on(
    judged: Sequence[Judged],
    choices: Sequence[Choice],
    told: Sequence[Choice],
    entropy: float,
    pole_tokens: tuple[int, int],
) -> tuple[str, ...]:
    """Sentences, the most important first."""
    reward, held_out = chosen(judged)
    said = [*_on_recognizers(judged, reward, held_out), *_on_prompts(choices), *_on_telling(told)]
    if entropy < FLAT:
        said.append(
            f"The model says nearly the same each time ({number(entropy, 'nats')} nats a token): training "
            "that compares its own samples has little to choose from. Use other prompts."
        )
    if max(pole_tokens) >= min(pole_tokens) + 3 and max(pole_tokens) > 1.5 * min(pole_tokens):
        said.append(
            f"The poles are far apart in length ({pole_tokens[0]} and {pole_tokens[1]} tokens); word the "
            "opposite by changing as few words as possible."
        )
    return tuple(said)


def _on_recognizers(judged: Sequence[Judged], reward: str | None, held_out: str | None) -> list[str]:
    if reward is None:
        best = max(judged, key=lambda row: row.best.mean if row.best.mean == row.best.mean else 0.0)
        return [
            "No recognizer tells the two sides apart in what this model writes when told them (the best is "
            f"{best.name}, {number(best.best.mean)}, where 0.5 is a coin): no reward would be worth raising. "
            "Word the poles as people would say them, give prompts that force the choice, or use a larger "
            "model."
        ]
    row = next(row for row in judged if row.name == reward)
    bounds = plain_bounds(row.best)
    said = [
        f"Steer with {reward}: {_what(row)} in {number(100 * row.best.mean)} % of pairs"
        f"{f' {bounds}' if bounds else ''}."
    ]
    said += _on_prior(row)
    if held_out is not None:
        said.append(
            f"Judge the result with {held_out}, "
            + (
                "though it asks much the same."
                if {reward, held_out} <= LIKELIHOODS
                else "which had no part in it."
            )
        )
    else:
        said.append(
            "No second recognizer tells the sides apart, so judge the result by words of either side."
        )
    return said


def _what(row: Judged) -> str:
    """What `row.best` is about."""
    if not math.isnan(row.named.mean):
        return "it scores texts that name the claim's side above those that name the other"
    return "it scores what the model says behind the claim above what it says behind the opposite"


def _on_prior(row: Judged) -> list[str]:
    known = [p for p in row.prompts if not math.isnan(p)]
    said = []
    if known and row.centre:
        widest = max(known, key=abs)
        said.append(
            f"Take each text's score less its prompt's: a prompt alone scores up to {widest:+.1f} nats, "
            f"where texts of one prompt differ by {number(row.spread, 'nats')} (standard deviation)."
        )
    if row.saturated > MOST:
        said.append(
            f"{number(row.saturated, 'share')} of the texts lie at the end of the scale (probability below "
            "0.05 or above 0.95)"
            + (", their prompt's score taken off" if row.centre else "")
            + f": a reward can hardly show more. Raise the temperature of {row.name}, or word the poles so "
            "that neither is likely after anything."
        )
    return said


def _on_prompts(choices: Sequence[Choice]) -> list[str]:
    if not choices:
        return [
            "The dipole has no words for its sides, so nobody can tell whether the prompts force the choice; "
            'give it mentions, such as mentions = { claim = ["paper clip"], against = ["staple"] }.'
        ]
    weak = [choice for choice in choices if choice.forced < FEW]
    if len(weak) == len(choices):
        return [
            "No prompt forces the choice: completions take a side in "
            f"{sum(c.claim + c.against for c in choices)} of {sum(c.n for c in choices)}. Word them so that "
            "the next words must name one, such as "
            '"If I had to choose between paper clips and staples, I\'d take the", or give more mentions.'
        ]
    return [
        f"Drop or reword the prompt {choice.prompt!r}: its completions take a side in "
        f"{choice.claim + choice.against} of {choice.n}."
        for choice in weak
    ]


def _on_telling(told: Sequence[Choice]) -> list[str]:
    if not told:
        return []
    claim, against = told
    if claim.claim - claim.against > against.claim - against.against:
        return []
    return [
        "The model does not do as it is told: told the claim it names the claim's side in "
        f"{claim.claim} of {claim.n} and the other in {claim.against}, told the opposite in {against.claim} "
        f"and {against.against}. What recognizers tell apart above is then hardly the stance."
    ]
