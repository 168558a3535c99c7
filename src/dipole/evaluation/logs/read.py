"""Which kind of log a path is, and its entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dipole.corpora.sources import JSONL, TABLE, form_of
from dipole.corpora.tables import header_of, rows_of
from dipole.evaluation.logs.harness import harness_entries, is_harness, sample_files
from dipole.evaluation.logs.inspect import inspect_entries, inspect_file, is_inspect, log_files
from dipole.evaluation.logs.lines import json_lines
from dipole.evaluation.logs.log import Entry, Log, as_number, log_of, looked_up
from dipole.files.paths import given_path
from dipole.files.reader import MOST_BYTES, Unreadable, parse_json, read_text
from dipole.types import UserError

_FORMS = (
    "give samples_….jsonl of lm-evaluation-harness (--log_samples) or a folder of them, a .json or .eval log "
    "of Inspect, a folder or effect.json of `dipole compare`, or rows (.jsonl, .csv) with an `id` and numbers"
)
_EFFECT = "dipole-effect"
_OWN_COLUMNS = ("id", "task", "cluster", "repeat")


def read_log(path: str | Path, cluster: str = "") -> Log:
    """Read a log, whoever wrote it.

    Args:
        path: A file or folder.
        cluster: Where an item says what it belongs to: a column of rows, or a dotted path in the `doc` of
            lm-evaluation-harness or the `metadata` of Inspect.

    Raises:
        UserError: It is no log that is known, is cut, or has an item twice.
    """
    place = given_path(path, "The log")
    if not place.exists():
        raise UserError(f"There is no log {str(path)!r}; {_FORMS}.")
    if place.is_dir():
        return _folder(place, cluster)
    if place.suffix == ".eval":
        return log_of(place, "Inspect", inspect_file(place, cluster))
    if form_of(place) == JSONL:
        first = next(json_lines(place), None)
        if first is None:
            raise UserError(f"{place} is empty; {_FORMS}.")
        if is_harness(first[1]):
            return log_of(place, "lm-evaluation-harness", harness_entries([place], cluster))
        return log_of(place, "rows", _rows(place, json_lines(place), cluster))
    if form_of(place) == TABLE:
        return log_of(place, "rows", _rows(place, _table(place, cluster), cluster))
    data = _json(place)
    if is_inspect(data):
        return log_of(place, "Inspect", inspect_entries(data, str(place), cluster))
    if isinstance(data, Mapping) and data.get("format") == _EFFECT:
        return log_of(place, "dipole compare", _effect(data, place))
    raise UserError(f"{place} is no log that dipole knows; {_FORMS}.")


def _folder(place: Path, cluster: str) -> Log:
    samples = sample_files(place)
    if samples:
        return log_of(place, "lm-evaluation-harness", harness_entries(samples, cluster))
    if (place / "effect.json").is_file():
        return read_log(place / "effect.json")
    logs = log_files(place)
    if logs:
        entries = (entry for file in logs for entry in inspect_file(file, cluster))
        return log_of(place, "Inspect", entries)
    raise UserError(f"There is no log in {place}; {_FORMS}.")


def _json(place: Path) -> Any:
    try:
        return parse_json(read_text(place, most=16 * MOST_BYTES), finite=False)
    except Unreadable as error:
        raise UserError(f"{place} can't be read: {error}; {_FORMS}.") from error


def _effect(data: Mapping[str, Any], place: Path) -> Iterator[Entry]:
    """The completions after, of which each has a side; those of one prompt belong together."""
    concept = data.get("concept")
    name = (concept.get("name") or concept.get("claim")) if isinstance(concept, Mapping) else None
    samples, sides = data.get("samples_after"), data.get("sides_after")
    if not isinstance(samples, list) or not isinstance(sides, list) or len(samples) != len(sides):
        raise UserError(f"{place} has no completions with their sides; make it again with `dipole compare`.")
    for number, (sample, side) in enumerate(zip(samples, sides, strict=True)):
        prompt = str(sample.get("prompt"))
        values = {"claim_share": float(side == "claim"), "against_share": float(side == "against")}
        item = f"{prompt} #{sample.get('seed')}"
        yield Entry(f"{place}: completion {number + 1}", str(name), item, values, cluster=prompt)


def _rows(place: Path, rows: Iterator[tuple[str, Mapping[str, Any]]], cluster: str) -> Iterator[Entry]:
    """Rows of one's own: an id, and every other number is a metric."""
    column = cluster or "cluster"
    for where, row in rows:
        if not str(row.get("id", "")).strip():
            raise UserError(f"{where} has no `id`, by which items are paired; {_FORMS}.")
        numbers = {k: as_number(v) for k, v in row.items() if k not in (*_OWN_COLUMNS, column)}
        values = {name: number for name, number in numbers.items() if number is not None}
        task = str(row.get("task") or place.name.split(".")[0])
        repeat, group = str(row.get("repeat") or ""), looked_up(row, column)
        yield Entry(where, task, str(row["id"]), values, repeat, group)


def _table(place: Path, cluster: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    header = header_of(place, ("id", *([cluster.casefold()] if cluster else [])))
    for row in rows_of(place, header):
        where = f"{place.name}:{row.line}"
        if row.wrong:
            raise UserError(f"{where} {row.wrong}; mend the file.")
        cells = {name: row.cell(at) or "" for name, at in header.columns.items()}
        yield where, {name: _value(name, text) for name, text in cells.items()}


def _value(name: str, text: str) -> object:
    if name in _OWN_COLUMNS:
        return text
    try:
        return float(text)
    except ValueError:
        return text
