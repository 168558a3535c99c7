"""Samples that lm-evaluation-harness wrote with `--log_samples`, one file a task."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dipole.evaluation.logs.lines import json_lines
from dipole.evaluation.logs.log import Entry, as_number, looked_up

_FILE = re.compile(r"samples_(?P<task>.+?)(?:_(?P<when>\d{4}-\d\d-\d\dT[\d.:-]+))?\.jsonl")
_GIVEN = frozenset(
    ("doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics")
) | {"doc_hash", "prompt_hash", "target_hash", "schema_version", "version", "model_name"}


def is_harness(row: Mapping[str, Any]) -> bool:
    """Whether a line of JSON is one of the harness."""
    return "doc_id" in row and ("resps" in row or "filtered_resps" in row or "doc" in row)


def sample_files(folder: Path) -> list[Path]:
    """The files of samples in a folder and below it; of several of one task, the last one written."""
    found: dict[str, tuple[str, Path]] = {}
    for file in sorted(folder.rglob("samples_*.jsonl")):
        match = _FILE.fullmatch(file.name)
        if match:
            task, when = match["task"], match["when"] or ""
            found[task] = max(found.get(task, ("", file)), (when, file))
    return [file for _, file in found.values()]


def harness_entries(files: Sequence[Path], cluster: str) -> Iterator[Entry]:
    """The items of files of samples.

    A metric behind another filter than `none` is named `metric,filter`, as the harness's own tables do. What
    is no single number, such as the pair that perplexities are made of, is left out.

    Args:
        files: One a task.
        cluster: Dotted path in `doc` to what an item belongs to.
    """
    for file in files:
        match = _FILE.fullmatch(file.name)
        task = match["task"] if match else file.stem
        for where, row in json_lines(file):
            behind = str(row.get("filter") or "none")
            listed = row.get("metrics")
            names = listed if isinstance(listed, list) else [key for key in row if key not in _GIVEN]
            numbers = {str(name): as_number(row.get(str(name))) for name in names}
            values = {
                name if behind == "none" else f"{name},{behind}": number
                for name, number in numbers.items()
                if number is not None
            }
            content = "".join(str(row.get(key) or "") for key in ("doc_hash", "target_hash"))
            group = looked_up(row.get("doc"), cluster) if cluster else ""
            yield Entry(where, task, str(row.get("doc_id")), values, "", group, content)
