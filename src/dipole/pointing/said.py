"""What came of pointing, in words and tables: for the terminal, and for the pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dipole.pointing.fates import meaning
from dipole.pointing.grid import End, summary
from dipole.pointing.measure import Reading, Written
from dipole.shown.numbers import number, plain_bounds
from dipole.shown.terminal import columns

_KINDS = {"uniform": "uniform", "adversarial": "adversarial", "topic": "the topic itself"}


def verdict(readings: Sequence[Reading], written: Sequence[Written], agreement: float) -> str:
    """What pointing came to, in a sentence or two."""
    by_name = {reading.name: reading for reading in readings}
    parts = []
    if "refined" in by_name:
        weak, refined = by_name["weak"].f1.mean, by_name["refined"].f1.mean
        part = f"F1 against the truth: {weak:.2f} by the topic model, {refined:.2f} by the model’s own notion"
        if "ceiling" in by_name:
            part += f", {by_name['ceiling'].f1.mean:.2f} by a probe that was trained on the truth"
        parts.append(part + ".")
    else:
        parts.append(
            f"The topic model and the model’s own notion agree on {number(agreement, 'share')} of "
            "the held-out documents."
        )
    by_way = {each.name: each for each in written}
    if "steered" in by_way:
        before, after = by_way["base"], by_way["steered"]
        told = "the judge" if after.judged is not None else "its own notion"
        one, other = (w.refined if w.judged is None else w.judged for w in (before, after))
        parts.append(
            f"By {told}, {number(one.mean, 'share')} of what it writes is of the notion, and steered "
            f"{number(other.mean, 'share')} (95% interval {plain_bounds(other, 'share')})."
        )
    return " ".join(parts)


def reading_lines(readings: Sequence[Reading]) -> list[str]:
    """A table of what was read; no line without truth."""
    rows = [
        [r.name, f"{100 * r.precision:.1f}%", f"{100 * r.recall:.1f}%", f"{r.f1.mean:.3f}", f"{r.auc:.3f}"]
        for r in readings
    ]
    return [*columns(("notion", "precision", "recall", "F1", "AUC"), rows), ""] if rows else []


def written_lines(written: Sequence[Written]) -> list[str]:
    """A table of what was written; no line where nothing was."""
    header = ("written", "own notion", "topic model", "excess", "perplexity", "distinct-2")
    rows = [
        [w.name, f"{100 * w.refined.mean:.1f}%", f"{100 * w.weak.mean:.1f}%",
         f"{100 * w.excess.mean:+.1f} [{100 * w.excess.low:+.0f}, {100 * w.excess.high:+.0f}]",
         f"{w.perplexity_ratio:.2f}", f"{w.distinct_2:.2f}"]
        for w in written
    ]  # fmt: skip
    return [*columns(header, rows), ""] if rows else []


def end_lines(ends: Sequence[End]) -> list[str]:
    """A table of where starts ended, and a sentence for each method."""
    rows = shown_rows(ends)
    header = ("method", "errors", "starts", "come to it", "mean F1", "rounds")
    lines = columns(header, [row[:6] for row in rows])
    last = ("the others end at", *(row[6] for row in rows))
    return [
        *(f"{line}  {end}".rstrip() for line, end in zip(lines, last, strict=True)),
        "",
        *sentences(ends),
    ]


def sentences(ends: Sequence[End]) -> list[str]:
    """What happened, in a sentence for each method."""
    rows = summary(ends)
    said = []
    for method in dict.fromkeys(str(row["method"]) for row in rows):
        of = {row["kind"]: row for row in rows if row["method"] == method}
        made = [kind for kind in ("uniform", "adversarial") if kind in of and of[kind]["made"]]
        shares = [f"{percent(of[kind]['inside'])} with {kind} errors" for kind in made]
        sentence = f"{method}: of the starts {' and '.join(shares) or 'none'} come to the notion"
        own = next((end for end in ends if (end.method, end.kind) == (method, "topic")), None)
        if own is not None:
            sentence += f"; begun at the topic’s own labels it ends at F1 {own.f1:.2f}"
        said.append(f"{sentence}.")
    return said


def shown_rows(ends: Sequence[End], flavour: str = "labels") -> list[list[str]]:
    """Method, kind of error, starts, share inside, mean F1, median rounds, and where the others end."""
    return [
        [
            str(row["method"]),
            _KINDS[str(row["kind"])],
            f"{row['made']:,}" if row["made"] == row["starts"] else f"{row['made']:,} of {row['starts']:,}",
            percent(row["inside"]),
            number(_float(row["f1"])),
            f"{row['rounds']:g}" if row["made"] else number(None),
            others(row, flavour),
        ]
        for row in summary(ends)
    ]


def others(row: Mapping[str, object], flavour: str) -> str:
    """Where those that did not come to the notion ended."""
    lost = [(fate, count) for fate, count in fates_in(row).items() if fate != "notion"]
    return ", ".join(f"{meaning(fate, flavour)} {count}" for fate, count in lost)


def fates_in(row: Mapping[str, object]) -> Mapping[str, int]:
    """How many ended at each fate."""
    fates = row["fates"]
    assert isinstance(fates, Mapping)
    return fates


def percent(value: object) -> str:
    """A share."""
    return number(_float(value), "share").replace(".0%", "%")


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
