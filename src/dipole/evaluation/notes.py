"""The sentences that a reader of an effect must see first."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from dipole.effects import Change
from dipole.types import Sample

PERPLEXITY_LIMIT = 1.15
DISTINCT_LIMIT = 0.8
REPEATED_LIMIT = 0.05
FEW = 30


def effect_notes(
    changes: Sequence[Change],
    held_out: bool,
    before: Sequence[Sample],
    after: Sequence[Sample],
    trained: Sequence[str],
    assumed: bool,
    towards: Collection[str],
) -> list[str]:
    """What to say, the most important first.

    Args:
        changes: All changes, the main one first.
        held_out: Whether no prompt was trained on.
        before: Completions of the LM before.
        after: Completions of the LM after.
        trained: Prompts among those measured that were, or may have been, trained on.
        assumed: Whether that is assumed only because they are the dipole's own prompts.
        towards: Names of the quantities that are higher where a text is nearer to the claim.
    """
    by_name = {c.name: c for c in changes}
    notes = _main([c for c in changes if c.name in towards], by_name, before, after)
    if all(c.in_loop for c in changes):
        notes.append("Only in-loop numbers: everything measured was part of what the control optimised.")
    if not held_out:
        notes.append(_trained(trained, assumed))
    if len(after) < FEW:
        notes.append(f"Only {len(after)} completions were compared, so the intervals are rough.")
    for c in changes:
        if c.unscored:
            notes.append(f"{c.unscored} of {c.n + c.unscored} could not be scored: {c.label}.")
    return notes + _costs(by_name)


def _main(
    changes: Sequence[Change],
    by_name: Mapping[str, Change],
    before: Sequence[Sample],
    after: Sequence[Sample],
) -> list[str]:
    if [s.token_ids for s in before] == [s.token_ids for s in after]:
        return ["It did nothing: every completion is the same, token for token, as before."]
    claim, against = by_name.get("claim_share"), by_name.get("against_share")
    if claim is not None and against is not None:
        return _by_sides(claim, against)
    main = next((c for c in changes if c.difference is not None), None)
    notes = ["The dipole names no mentions, so which side a completion took was not counted."]
    if main is None or main.difference is None:
        return notes
    if not main.difference.excludes_zero:
        return [f"It did nothing: the interval of the change in {main.label} includes 0.", *notes]
    if main.difference.high < 0:
        return [f"Negative: it moved the wrong way ({main.label} fell).", *notes]
    return notes


def _by_sides(claim: Change, against: Change) -> list[str]:
    assert claim.difference is not None
    assert against.difference is not None
    if not any(
        level is not None and level.mean > 0 for c in (claim, against) for level in (c.before, c.after)
    ):
        return ["No completion, before or after, mentions either side; give prompts that force the choice."]
    gained, lost = claim.difference, against.difference
    if gained.high < 0 or (lost.low > 0 and not gained.low > 0):
        return [
            "Negative: it moved the wrong way (the claim's side was taken less often than before, or the "
            "counterclaim's more often)."
        ]
    if not gained.excludes_zero and not lost.excludes_zero:
        return ["It did nothing: the intervals of the change in either side's share include 0."]
    if not gained.excludes_zero:
        return ["The counterclaim's side lost completions, but the claim's side did not clearly gain."]
    return []


def _trained(trained: Sequence[str], assumed: bool) -> str:
    count = f"{len(trained)} of the prompts measured"
    if assumed:
        return (
            f"{count} may have been trained on, since they are the dipole's own prompts; this does not show "
            "what happens on new wordings."
        )
    return f"{count} also trained on; this does not show what happens on new wordings.".replace(
        "measured also", "measured was also" if len(trained) == 1 else "measured were also"
    )


def _costs(by_name: Mapping[str, Change]) -> list[str]:
    notes = []
    ratio = by_name.get("perplexity_ratio")
    if ratio is not None and ratio.after.mean > PERPLEXITY_LIMIT:
        notes.append(
            f"Perplexity rose: to the LM before, its text is {ratio.after.mean:.2f} times as perplexing as "
            "that LM's own."
        )
    distinct = by_name.get("distinct_2_ratio")
    if distinct is not None and distinct.after.mean < DISTINCT_LIMIT:
        notes.append(f"Variety fell: it keeps {100 * distinct.after.mean:.0f}% of the distinct word pairs.")
    repeated = by_name.get("repeated_claim_rate")
    if repeated is not None and repeated.after.mean >= REPEATED_LIMIT and _rose(repeated):
        share = f"{100 * repeated.after.mean:.0f}%"
        notes.append(f"Regurgitation: {share} of completions repeat the claim word for word.")
    kl = by_name.get("kl")
    if kl is not None and math.isinf(kl.after.mean):
        notes.append("The KL is infinite: it writes what the LM before can't write at all.")
    return notes


def _rose(change: Change) -> bool:
    return change.before is None or change.after.mean > change.before.mean
