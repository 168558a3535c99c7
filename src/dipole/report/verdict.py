"""The verdict: what was wanted, what changed on prompts never trained on, and what else changed."""

from __future__ import annotations

import math
from typing import NamedTuple

from dipole.effects import Change, Effect
from dipole.shown.numbers import change, number, plain_bounds
from dipole.shown.text import one_line

# Names under which the numbers of the verdict are looked for, the first that is there.
CLAIM = ("claim_share", "truth_claim_share")
AGAINST = ("against_share", "truth_against_share")
KL = ("kl", "kl_token")
PERPLEXITY = ("perplexity_ratio", "perplexity_base")
DISTINCT = ("distinct_2_ratio", "distinct_2")


class Figure(NamedTuple):
    """A number at the top of the report."""

    label: str
    value: str
    detail: str


def find(effect: Effect, names: tuple[str, ...]) -> Change | None:
    """The first change under one of these names."""
    by_name = {c.name: c for c in effect.changes}
    return next((by_name[name] for name in names if name in by_name), None)


def notes(effect: Effect) -> tuple[str, ...]:
    """What a reader must see first: the effect's own notes, and what its numbers can't show."""
    given = tuple(one_line(note) for note in effect.notes)
    said = " ".join(given).casefold()
    extra = []
    if effect.changes and all(c.in_loop for c in effect.changes) and "in-loop" not in said:
        extra.append(
            "Every number here is in-loop: it was part of what the control optimised, so nothing independent "
            "confirms the effect."
        )
    if not effect.held_out and "trained on" not in said and "held out" not in said and "held-out" not in said:
        extra.append("The prompts were also trained on, so this does not show what happens on new wordings.")
    unscored = [c for c in effect.changes if c.unscored > 0.1 * (c.n + c.unscored)]
    for c in unscored if "could not be scored" not in said else ():
        extra.append(
            f"{one_line(c.label)}: {c.unscored} of {c.n + c.unscored} could not be scored and were left out."
        )
    return (*given, *extra)


def verdict(effect: Effect) -> tuple[str, ...]:
    """The paragraph under the title, sentence by sentence."""
    return tuple(s for s in (_wanted(effect), _changed(effect), _cost(effect), _bystanders(effect)) if s)


def _wanted(effect: Effect) -> str:
    claim, against = (one_line(str(effect.concept.get(key, ""))) for key in ("claim", "against"))
    if not claim:
        return ""
    stop = "" if against.endswith((".", "!", "?", "…")) else "."
    return f"Wanted: text that leans to “{claim}” rather than “{against}”{stop}"


def _changed(effect: Effect) -> str:
    where = "prompts never trained on" if effect.held_out else "the prompts that were trained on"
    count = f" ({len(effect.samples_after)} completions)" if effect.samples_after else ""
    claim, against = find(effect, CLAIM), find(effect, AGAINST)
    if claim is not None and claim.before is not None and claim.difference is not None:
        text = f"On {where}{count}, completions on the claim’s side {_went(claim)}"
        if against is not None and against.before is not None:
            text += f"; those on the counterclaim’s side {_went(against)}"
        return text + "."
    if effect.changes and effect.changes[0].before is not None:
        main = effect.changes[0]
        return f"On {where}{count}, {one_line(main.label)} {_went(main)}."
    return ""


def _went(c: Change) -> str:
    before = number(c.before.mean if c.before else None, c.unit)
    after = number(c.after.mean, c.unit)
    if before == after:
        return f"stayed at {after}"
    if c.difference is None or math.isnan(c.difference.low):
        return f"went from {before} to {after}"
    word = "rose" if c.after.mean > (c.before.mean if c.before else 0.0) else "fell"
    unsure = ", which includes no change" if not c.difference.excludes_zero else ""
    points = " points" if c.unit == "share" else ""
    low, high = (change(bound, c.unit) for bound in (c.difference.low, c.difference.high))
    return f"{word} from {before} to {after} (95% interval of the change {low} to {high}{points}{unsure})"


def _was(c: Change) -> str:
    return f"before: {number(c.before.mean, c.unit)}" if c.before else ""


def _cost(effect: Effect) -> str:
    parts = []
    kl, perplexity, distinct = (find(effect, names) for names in (KL, PERPLEXITY, DISTINCT))
    if kl is not None:
        parts.append(f"the model moved {number(kl.after.mean, kl.unit)} {_nats(kl)} away from the base")
    if perplexity is not None:
        ratio = _ratio(perplexity)
        if ratio is not None:
            parts.append(f"its text has {number(ratio)} times the base’s own perplexity under the base")
    kept = _ratio(distinct) if distinct is not None else None
    if kept is not None:
        parts.append(f"it keeps {100 * kept:.0f}% of the base’s variety of word pairs")
    return f"What else changed: {_join(parts)}." if parts else ""


def _nats(kl: Change) -> str:
    return {"nats/sequence": "nats a sequence", "nats/token": "nats a token"}.get(kl.unit, "nats")


def _ratio(c: Change) -> float | None:
    if c.before is None:
        ratio = c.after.mean if c.unit == "ratio" else math.nan
    else:
        ratio = c.after.mean / c.before.mean if c.before.mean else math.nan
    return ratio if math.isfinite(ratio) else None


def _bystanders(effect: Effect) -> str:
    shifts = [b.shift for b in effect.bystanders if not math.isnan(b.shift.mean)]
    if not shifts:
        return ""
    mean = sum(abs(s.mean) for s in shifts) / len(shifts)
    moved = sum(1 for s in shifts if s.excludes_zero)
    who = "1 bystander dipole" if len(shifts) == 1 else f"{len(shifts)} bystander dipoles"
    text = f"{who} shifted by {mean:.3f} in probability"
    text += " on average" if len(shifts) > 1 else ""
    return f"{text}; {moved} of them by an interval that excludes 0."


def _join(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + ", and " + parts[-1]


def headline_figures(effect: Effect) -> tuple[Figure, ...]:
    """At most five numbers for the top of the report."""
    figures = []
    shares = ((CLAIM, "take the claim’s side"), (AGAINST, "take the counterclaim’s side"))
    for names, label in shares:
        found = find(effect, names)
        if found is not None:
            figures.append(Figure(label, number(found.after.mean, found.unit), _was(found)))
    if not figures and effect.changes:
        main = effect.changes[0]
        figures.append(Figure(one_line(main.label), number(main.after.mean, main.unit), _was(main)))
    kl, perplexity = find(effect, KL), find(effect, PERPLEXITY)
    if kl is not None:
        detail = plain_bounds(kl.after, kl.unit)
        figures.append(Figure(f"{_nats(kl)} from the base", number(kl.after.mean, kl.unit), detail))
    ratio = _ratio(perplexity) if perplexity is not None else None
    if ratio is not None:
        figures.append(Figure("perplexity under the base, over the base’s own", f"{number(ratio)}×", ""))
    shifts = [abs(b.shift.mean) for b in effect.bystanders if not math.isnan(b.shift.mean)]
    if shifts:
        detail = f"largest {max(shifts):.3f}"
        label = f"mean shift of {len(shifts)} bystanders, in probability"
        figures.append(Figure(label, f"{sum(shifts) / len(shifts):.3f}", detail))
    return tuple(figures)
