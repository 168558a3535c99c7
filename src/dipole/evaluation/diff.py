"""Two logs of the same items: what changed, how sure that is, and how many items would show more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from dipole.evaluation.diff_maths import Paired, holm, paired
from dipole.evaluation.diff_record import Difference, Row
from dipole.evaluation.logs import Log, Measure, read_log
from dipole.types import UserError

_NAMED = 3


def diff(
    before: str | Path,
    after: str | Path,
    metrics: Sequence[str] = (),
    tasks: Sequence[str] = (),
    cluster: str = "",
    effect: float | None = None,
) -> Difference:
    """Compare two logs of the same items, of lm-evaluation-harness, Inspect, `compare` or one's own.

    Items are paired by their ids; the mean over repetitions stands for one that was sampled several times.

    Args:
        before: A file or folder.
        after: The other one.
        metrics: Those to compare; all that both have, otherwise.
        tasks: Likewise.
        cluster: Where an item says what it belongs to; see `evaluation.logs.read_log`.
        effect: A difference that would matter, in the metric's own unit (0.02 of an accuracy is two points):
            how many items it takes is told of it in place of what was found.

    Raises:
        UserError: A log can't be read, they share no item, or an item is another one in the second.
    """
    if effect is not None and not (math.isfinite(effect) and effect != 0):
        raise UserError(f"effect must be a difference that is finite and not 0, and is {effect}.")
    one, other = read_log(before, cluster), read_log(after, cluster)
    measures = [m for m in one.values if m in other.values and _wanted(m, metrics, tasks)]
    if not measures:
        raise UserError(
            f"{one.path} and {other.path} share no measure{_asked(metrics, tasks)}: the first has "
            f"{_listed(one)}, the second {_listed(other)}."
        )
    notes = list(_left_out(one, other, metrics, tasks))
    compared, flips = [], []
    for measure in measures:
        found, rose, fell, more = _compared(one, other, measure)
        compared.append(found)
        flips.append((rose, fell))
        notes += more
    rows = tuple(
        Row(measure, found, p, rose, fell, _is_share(one, other, measure))
        for measure, found, p, (rose, fell) in zip(
            measures, compared, holm([found.p for found in compared]), flips, strict=True
        )
    )
    return Difference(one.path, other.path, rows, tuple(dict.fromkeys(notes)), effect)


def _compared(
    one: Log, other: Log, measure: Measure
) -> tuple[Paired, tuple[str, ...], tuple[str, ...], list[str]]:
    first, second = one.values[measure], other.values[measure]
    both = [item for item in first if item in second]
    name = " ".join(measure)
    if not both:
        raise UserError(
            f"{one.path} and {other.path} share no item of {name}: ids such as {next(iter(first))!r} and "
            f"{next(iter(second))!r}. Give logs of the same items."
        )
    for item in both:
        key = (measure.task, item)
        if one.contents.get(key) != other.contents.get(key) and key in one.contents and key in other.contents:
            raise UserError(
                f"The item {item!r} of {measure.task} is another one in {other.path}: its text or its target "
                "has changed, so that the two can't be paired. Give logs of the same version of the task."
            )
    notes = []
    if len(both) < len(first) or len(both) < len(second):
        notes.append(
            f"{name}: {len(first) - len(both):,} items are in the first log alone and "
            f"{len(second) - len(both):,} in the second; the {len(both):,} that both have are compared."
        )
    clusters = [one.clusters.get((measure.task, item), "") for item in both]
    found = paired(
        [first[item] for item in both],
        [second[item] for item in both],
        [cluster or f"\0{item}" for cluster, item in zip(clusters, both, strict=True)]
        if any(clusters)
        else (),
    )
    if any(clusters) and found.groups == found.items > len(set(clusters)):
        notes.append(
            f"{name}: its items are of {len(set(clusters))} clusters, too few to speak of others; the "
            "result holds for these only."
        )
    rose = tuple(item for item in both if second[item] > first[item])
    fell = tuple(item for item in both if second[item] < first[item])
    return found, rose, fell, notes


def _left_out(one: Log, other: Log, metrics: Sequence[str], tasks: Sequence[str]) -> list[str]:
    said = []
    for log, rest in ((one, other), (other, one)):
        alone = [m for m in log.values if m not in rest.values and _wanted(m, metrics, tasks)]
        if alone:
            names = ", ".join(" ".join(m) for m in alone[:_NAMED])
            more = f" and {len(alone) - _NAMED} more" if len(alone) > _NAMED else ""
            said.append(f"only {log.path} has {names}{more}; left out.")
    return said


def _wanted(measure: Measure, metrics: Sequence[str], tasks: Sequence[str]) -> bool:
    return (not metrics or measure.metric in metrics) and (not tasks or measure.task in tasks)


def _asked(metrics: Sequence[str], tasks: Sequence[str]) -> str:
    return f" among {', '.join((*tasks, *metrics))}" if metrics or tasks else ""


def _listed(log: Log) -> str:
    names = [" ".join(measure) for measure in log.values]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _is_share(one: Log, other: Log, measure: Measure) -> bool:
    return all(0 <= value <= 1 for log in (one, other) for value in log.values[measure].values())
