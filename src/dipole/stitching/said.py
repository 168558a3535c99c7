"""What came of a translation, in words and rows of tables: for the page, the card and the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dipole.effects import Interval
from dipole.shown.numbers import number, plain_bounds

if TYPE_CHECKING:
    from dipole.evaluation.response import Draws, Response
    from dipole.stitching.transfer import Transfer

_LAYER_HEADER = (
    "layer",
    "lambda",
    "unexplained, choosing",
    "unexplained, held out",
    "shuffled pairs",
    "CKA",
    "",
)
_VECTOR_HEADER = (
    "vector",
    "layer",
    "m(−1)",
    "m(0)",
    "m(1)",
    "effect",
    "retention",
    "one draw",
    "slope ratio",
    "r",
    "MSE",
)


def verdict(facts: Mapping[str, Any], transfer: Transfer | None) -> str:
    """One sentence on what came through."""
    if transfer is None:
        return (
            f"The map leaves {plain(facts['map']['fvu'])} of the variance of held-out text unexplained "
            f"(shuffled pairs: {plain(facts['map']['fvu_shuffled'])}). Whether the vector still steers was "
            "not measured; a dipole would do that."
        )
    kept, own = transfer["translated"].retention, transfer["native"].effect
    if kept is None:
        return (
            f"Nothing can be said of what came through: the target's own vector has an effect of "
            f"{number(own.mean)} {plain_bounds(own)}, which can't be told from none."
        )
    nulls = [r for r in transfer.responses if r.name in ("shuffled", "random")]
    return (
        f"The translated vector keeps {number(kept.mean, 'share')} {plain_bounds(kept, 'share')} of the "
        "native vector's effect at equal strength; "
        + ", ".join(null_words(r) for r in nulls if r.retention is not None)
        + "."
    )


def notes(facts: Mapping[str, Any], transfer: Transfer | None) -> list[str]:
    """What a reader must see first."""
    found, corpus = [], facts["corpus"]
    if corpus["relaxed"]:
        exact = facts["map"]["fvu_exact_pairs"]
        found.append(
            f"Only {number(corpus['kept'], 'share')} of the tokens end together in both models, so tokens "
            "that end in the same word were paired too; without those the variance unexplained is "
            f"{plain(exact)}."
        )
    if not corpus["whole"]:
        found.append(
            f"The corpus has too few files ({corpus['units']}) to keep the passages of each together, so the "
            "map was fitted on some passages and reported on others of the same file; of a new file more of "
            "the variance would be unexplained."
        )
    if not facts["near"]:
        found.append(
            "One map for all text was fitted, because nothing tells where the vector acts, or it was asked "
            "for; that often loses a vector that works. Give prompts of the kind it acts on."
        )
    elif facts["power"] == 0.0:
        found.append(
            "The corpus is too small to let rows near the prompts count more, so one map for all text was "
            "fitted."
        )
    if transfer is not None and not transfer.held_out:
        found.append(
            "The dipole has no held-out prompts: the vector was measured on prompts it was fitted on."
        )
    if transfer is not None and abs(transfer["source"].effect.mean) < 0.05:
        found.append("The vector does next to nothing in its own model, so there is little to translate.")
    return found


def layer_rows(facts: Mapping[str, Any]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and rows of the table of layers that were tried."""
    chosen = facts["map"]["target_layer"]
    rows = [
        [
            str(row["target_layer"]),
            f"{row['lambda']:g}",
            plain(row["fvu_choose"]),
            plain(row["fvu"]),
            plain(row["fvu_shuffled"]),
            plain(row["cka"]),
            "chosen" if row["target_layer"] == chosen else "",
        ]
        for row in facts["layers"]
    ]
    return _LAYER_HEADER, rows


def response_rows(transfer: Transfer) -> tuple[tuple[str, ...], list[list[str]]]:
    """Header and rows of the table of vectors that were measured."""
    zero = transfer.strengths.index(0.0)
    rows = [
        [
            label_of(r),
            str(r.layer),
            *(plain(r.curve[k].mean) for k in (0, zero, -1)),
            plain(r.effect.mean),
            _quotient(r.retention, r.retention_draws),
            _one_draw(r.retention_draws),
            _quotient(r.slope_ratio, r.slope_draws),
            _or_nothing(r.pearson),
            "" if math.isnan(r.mse) else f"{r.mse:.4f}",
        ]
        for r in transfer.responses
    ]
    return _VECTOR_HEADER, rows


def null_words(response: Response) -> str:
    """A null and what it keeps of the effect, for a sentence."""
    draws, kept = response.retention_draws, response.retention
    if draws is None:
        return f"a {response.label} {number(None if kept is None else kept.mean, 'share')}"
    return (
        f"a {response.label} {number(draws.mean.mean, 'share')} {plain_bounds(draws.mean, 'share')} in the "
        f"mean of {response.draws} draws ({number(draws.size, 'share')} in size a draw)"
    )


def label_of(response: Response) -> str:
    """Name for a reader, with how many draws it is the mean of."""
    return response.label if response.draws == 1 else f"{response.label} (mean of {response.draws})"


def plain(value: float | None) -> str:
    """A number, or a dash."""
    return number(math.nan if value is None else value)


def _quotient(value: Interval | None, draws: Draws | None) -> str:
    """With its interval over prompts, or that of a null over draws, which are what it stands for."""
    shown = value if draws is None or value is None else draws.mean
    return "" if shown is None else f"{number(shown.mean, 'share')} {plain_bounds(shown, 'share')}".strip()


def _one_draw(draws: Draws | None) -> str:
    return "" if draws is None else f"±{number(draws.deviation, 'share')}, size {number(draws.size, 'share')}"


def _or_nothing(value: float) -> str:
    return "" if math.isnan(value) else number(value)
