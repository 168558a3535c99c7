"""What a control came to, in plain sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dipole.effects import Change, Interval
from dipole.evaluation.families_records import CLAIM_TARGET, PERPLEXITY_TARGET, Curve, Point, Verdict

KL_NOISE = 0.02
"""Nats a sequence. By Pinsker's inequality at most one completion in ten differs below it."""

_WHAT = {"claim_share": "the share on the claim's side", "velma_probability": "VELMA's mean probability"}


def judge_curve(
    points: Sequence[Point],
    main: str,
    graded: bool,
    skipped: Sequence[tuple[float, str]],
    null: bool = False,
) -> Verdict:
    """The verdict on one curve.

    Args:
        points: By strength, 0 among them.
        main: Name of the main quantity.
        graded: Whether the control has strengths beside 1 and -1.
        skipped: Strengths that could not be measured, and why.
        null: Whether it is a null, which has no target and no other way.
    """
    one = next((point for point in points if point.strength == 1.0), None)
    if one is None:
        why = next((reason for strength, reason in skipped if strength == 1.0), "it was not asked for.")
        return Verdict(False, None, None, (f"It could not be measured at strength 1: {why}",))
    nothing = did_nothing(one, main)
    sentences = [_nothing(one, main)] if nothing else [_effect(one, main)]
    own = [value for value in one.repeats.get(main, ()) if not math.isnan(value)]
    if len(own) > 1:
        sentences.append(f"Over {len(own)} repeats: {_percent(min(own))} to {_percent(max(own))}.")
    if null:
        return Verdict(nothing, None, None, tuple(sentences))
    reached = _meets(one, main) if graded else None
    if graded:
        sentences.append(_target(points, one, main))
    back, sentence = _negative(points, main)
    if sentence and not nothing:
        sentences.append(sentence)
    sentences += [f"Strength {_signed(strength)} could not be measured: {why}" for strength, why in skipped]
    return Verdict(nothing, reached, back, tuple(sentences))


def did_nothing(point: Point, main: str) -> bool:
    """Whether the main change's interval holds 0 and the distribution stayed the base's."""
    if point.same == 1.0:
        return True
    kl = point["kl"].after.mean
    return not point.kl_is_bound and kl < KL_NOISE and not _difference(point, main).excludes_zero


def _nothing(point: Point, main: str) -> str:
    if point.same == 1.0:
        return "It did nothing: at strength 1 every completion is the base's own, token for token."
    return (
        f"It did nothing: at strength 1 the interval of the change in {_WHAT[main]} holds 0 "
        f"({_change(_difference(point, main))}), and its distribution is the base's but for "
        f"{point['kl'].after.mean:.3f} nats a sequence."
    )


def _effect(point: Point, main: str) -> str:
    difference, after, before = _difference(point, main), point[main].after, point[main].before
    level = f"{_percent(before.mean if before else math.nan)} to {_percent(after.mean)}"
    text = f"At strength 1, {_WHAT[main]} went from {level} ({_change(difference)})"
    if not difference.excludes_zero:
        return (
            f"{text}; the interval holds 0, so it changed what is written, but not clearly which side is "
            "taken."
        )
    return f"{text}: it moved the wrong way." if difference.high < 0 else f"{text}."


def _meets(point: Point, main: str) -> bool:
    return point[main].after.mean >= CLAIM_TARGET and _ratio(point) <= PERPLEXITY_TARGET


def _target(points: Sequence[Point], one: Point, main: str) -> str:
    """Whether the target was reached; where not, which half of it failed, and the best that the curve has."""
    goal = f"{_percent(CLAIM_TARGET)} with perplexity within {PERPLEXITY_TARGET:g} times the base's own"
    if _meets(one, main):
        return f"It reaches {goal}: {_point(one, main)}."
    reasons = []
    if not one[main].after.mean >= CLAIM_TARGET:
        reasons.append(f"{_WHAT[main]} is {_percent(one[main].after.mean)}")
    if not _ratio(one) <= PERPLEXITY_TARGET:
        reasons.append(f"its perplexity under the base is {_ratio(one):.2f} times the base's own")
    because = " and ".join(reasons)
    positive = [point for point in points if point.strength > 0]
    there = next((point for point in positive if _meets(point, main)), None)
    if there is not None:
        return (
            f"At strength 1 it does not reach {goal}, because {because}; strength {there.strength:g} does: "
            f"{_point(there, main)}."
        )
    text = f"It can't reach {goal}, because at strength 1 {because}"
    fluent = [point for point in positive if _ratio(point) <= PERPLEXITY_TARGET]
    if not fluent:
        return f"{text}, and no positive strength keeps the perplexity that low."
    best = max(fluent, key=lambda point: (point[main].after.mean, -point.strength))
    if best is one:
        return f"{text}, and no strength measured does better within that perplexity."
    return f"{text}; the best within that perplexity is strength {best.strength:g}: {_point(best, main)}."


def _point(point: Point, main: str) -> str:
    return f"{_percent(point[main].after.mean)} at {_ratio(point):.2f} times"


def _negative(points: Sequence[Point], main: str) -> tuple[bool | None, str]:
    """Whether a negative strength pushes the other way; the one nearest to -1 is looked at."""
    negative = sorted((p for p in points if p.strength < 0), key=lambda p: abs(p.strength + 1.0))
    if not negative:
        return None, ""
    point = negative[0]
    fell, other = _difference(point, main), point.get("against_share")
    gained = other.difference if other is not None and main == "claim_share" else None
    seen = f"{_WHAT[main]} {_change(fell)}"
    if gained is not None:
        seen += f"; on the counterclaim's {_change(gained)}"
    start = f"Strength {_signed(point.strength)}"
    if fell.high < 0 or (gained is not None and gained.low > 0):
        return True, f"{start} pushes the other way: {seen}."
    if fell.low > 0:
        return False, f"{start} does not push the other way: {seen}."
    return False, f"{start} does not clearly push the other way: {seen}."


def null_sentence(curve: Curve, null: Curve, main: str) -> str:
    """How the control compares with its null at strength 1; empty where either was not measured."""
    own, other = curve.at(1.0), null.at(1.0)
    if own is None or other is None:
        return ""
    ours, theirs = _difference(own, main), _difference(other, main)
    text = f"{null.label}, at strength 1: {_change(theirs)}, {other['kl'].after.mean:.2f} nats from the base"
    if ours.low > theirs.high:
        return (
            f"{text}; the intervals are apart, so it is the direction that does it, not the size of the push."
        )
    return f"{text}; the control's interval is not above it, so the direction is not shown to matter."


def _difference(point: Point, main: str) -> Interval:
    change: Change = point[main]
    return change.difference or Interval(math.nan, math.nan, math.nan)


def _ratio(point: Point) -> float:
    return point["perplexity_ratio"].after.mean


def _percent(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{100 * value:.0f}%"


def _change(value: Interval) -> str:
    text = f"{_signed(100 * value.mean, '.1f')} points"
    if math.isnan(value.low) or math.isnan(value.high):
        return text
    return f"{text}, 95% interval {_signed(100 * value.low, '.1f')} to {_signed(100 * value.high, '.1f')}"


def _signed(value: float, how: str = "g") -> str:
    """With a true minus sign, and a plus above 0 where decimals are asked for."""
    text = f"{abs(value):{how}}"
    if not text.strip("0."):
        return text
    if value < 0:
        return f"\u2212{text}"
    return text if how == "g" else f"+{text}"
