"""What a log says of each item, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from dipole.types import UserError


class Measure(NamedTuple):
    """What was measured: a metric of a task."""

    task: str
    metric: str


class Entry(NamedTuple):
    """One item as it stands in a log.

    Attributes:
        where: File and line, for messages.
        task: The task that it is of.
        item: Its id in that task.
        values: A number by metric.
        repeat: Which repetition, where an item is sampled several times.
        cluster: What it belongs to with others, such as the passage that several questions are about.
        content: Something that changes when the item's own text does, such as a hash; empty where unknown.
    """

    where: str
    task: str
    item: str
    values: Mapping[str, float]
    repeat: str = ""
    cluster: str = ""
    content: str = ""


@dataclass(frozen=True)
class Log:
    """Values of items by what was measured.

    Attributes:
        path: Where it was read.
        kind: Who wrote it, in words.
        values: For each measure the value of each item, the mean over its repetitions.
        clusters: The cluster of an item by task and item; only of those that have one.
        contents: What tells that an item is the same, by task and item; only where the log has it.
    """

    path: Path
    kind: str
    values: Mapping[Measure, Mapping[str, float]]
    clusters: Mapping[tuple[str, str], str]
    contents: Mapping[tuple[str, str], str]


def log_of(path: Path, kind: str, entries: Iterable[Entry]) -> Log:
    """A log from its entries.

    Raises:
        UserError: There are none, or an item stands there twice.
    """
    found: dict[Measure, dict[str, list[float]]] = {}
    seen: dict[tuple[str, str, str, str], str] = {}
    clusters: dict[tuple[str, str], str] = {}
    contents: dict[tuple[str, str], str] = {}
    for entry in entries:
        for metric, value in entry.values.items():
            key = (entry.task, metric, entry.item, entry.repeat)
            if key in seen:
                again = f", repetition {entry.repeat}" if entry.repeat else ""
                raise UserError(
                    f"{entry.where}: the item {entry.item!r} of {entry.task} has {metric} twice{again}; it "
                    f"stands at {seen[key]} too. Give a log in which each item is there once."
                )
            seen[key] = entry.where
            found.setdefault(Measure(entry.task, metric), {}).setdefault(entry.item, []).append(value)
        if entry.cluster:
            clusters[entry.task, entry.item] = entry.cluster
        if entry.content:
            contents[entry.task, entry.item] = entry.content
    if not found:
        raise UserError(f"{path} has no item with a number to compare ({kind}).")
    values = {
        measure: {item: sum(given) / len(given) for item, given in items.items()}
        for measure, items in found.items()
    }
    return Log(path, kind, values, clusters, contents)


def as_number(value: object) -> float | None:
    """A finite number or a truth value as a number; None for all else."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float) and value == value and abs(value) != float("inf"):
        return float(value)
    return None


def looked_up(data: object, path: str) -> str:
    """What stands at `a.b.c` in nested tables, as text; empty where nothing does."""
    for key in path.split("."):
        data = data.get(key) if isinstance(data, Mapping) else None
    return "" if data is None else str(data)
