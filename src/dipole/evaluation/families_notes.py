"""The sentences that a reader of a comparison must see first."""

from __future__ import annotations

from dipole.evaluation.families_records import CLAIM_TARGET, PERPLEXITY_TARGET, Comparison, Curve

FEW = 30


def comparison_notes(comparison: Comparison, lacking: int) -> tuple[str, ...]:
    """What to say, the most important first.

    Args:
        comparison: All but its notes.
        lacking: Bystanders that were left out for want of prompts.
    """
    proper = [curve for curve in comparison.curves if not curve.null_of]
    notes = [f"{label} could not be fitted: {why}" for label, why in comparison.failed]
    notes += _nothing(proper)
    notes += _targets(proper)
    if comparison.main != "claim_share":
        notes.append(
            "The dipole names no mentions, so which side a completion took was not counted: every effect "
            "here is VELMA's probability."
        )
    notes += _in_loop(proper, comparison.main)
    if not comparison.held_out:
        notes.append(
            "The dipole has no held-out prompts, so controls were measured on the prompts that they were "
            "fitted on; this does not show what happens on new wordings."
        )
    if len(comparison.samples) * int(comparison.settings["repeats"]) < FEW:
        notes.append(f"Only {len(comparison.samples)} completions a point, so the intervals are rough.")
    bounded = [c.label for c in proper if any(point.kl_is_bound for point in c.points)]
    if bounded:
        notes.append(
            f"{_list(bounded)}: only an upper bound of the KL is known, ln n \u2212 (n \u2212 1)/n for "
            "the best of n; it is marked \u2264."
        )
    if lacking:
        notes.append(f"{lacking} of the bystanders have no prompts and were left out.")
    return tuple(notes)


def _nothing(curves: list[Curve]) -> list[str]:
    idle = [curve.label for curve in curves if curve.verdict.did_nothing]
    return [f"{_list(idle)} did nothing."] if idle else []


def _targets(curves: list[Curve]) -> list[str]:
    graded = [curve for curve in curves if curve.verdict.reached is not None]
    if not graded:
        return []
    missed = [curve.label for curve in graded if not curve.verdict.reached]
    wanted = (
        f"the target ({CLAIM_TARGET:.0%} for the claim at strength 1 with perplexity under the base within "
        f"{PERPLEXITY_TARGET:g} times the base's own)"
    )
    if len(graded) == 1:
        return [f"{graded[0].label} {'did not reach' if missed else 'reached'} {wanted}."]
    if not missed:
        return [f"Every graded control reached {wanted}."]
    return [
        f"{len(graded) - len(missed)} of {len(graded)} graded controls reached {wanted}; {_list(missed)} did "
        "not."
    ]


def _in_loop(curves: list[Curve], main: str) -> list[str]:
    """Whose numbers the control itself optimised."""
    notes = []
    held_out = main == "claim_share" and not any("mentions" in curve.in_loop for curve in curves)
    looped = [curve.label for curve in curves if "velma" in curve.in_loop]
    if looped:
        rest = "; the shares by mention are held-out for all" if held_out else ""
        notes.append(f"VELMA's numbers are in-loop for {_list(looped)}, which optimised them{rest}.")
    chosen = [curve.label for curve in curves if curve.selected and "velma" not in curve.in_loop]
    if chosen:
        notes.append(
            f"{_list(chosen)} chose strength or settings on prompts that are not measured here: by what "
            "completions name, or by VELMA without words for both sides. Those numbers flatter them a little."
        )
    unknown = [c.label for c in curves if not c.fit_seconds and not c.in_loop and not c.settings]
    if unknown:
        notes.append(
            f"{_list(unknown)} came fitted, so what was optimised and how long it took is not known here."
        )
    return notes


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
