"""Logs of Inspect: one JSON file, or the zip archive `.eval` of one."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dipole.evaluation.logs.log import Entry, as_number, looked_up
from dipole.files.reader import MOST_BYTES, Unreadable, parse_json, read_text
from dipole.types import UserError

_LETTERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}  # correct, partly, incorrect, no answer
_MOST = 1 << 31  # bytes that an archive may hold unpacked


def is_inspect(data: object) -> bool:
    """Whether plain data is a log of Inspect."""
    return isinstance(data, Mapping) and isinstance(data.get("eval"), Mapping) and "samples" in data


def log_files(folder: Path) -> list[Path]:
    """The logs in a folder, not below it."""
    packed = sorted(folder.glob("*.eval"))
    return [*packed, *(file for file in sorted(folder.glob("*.json")) if _is_log(file))]


def _is_log(file: Path) -> bool:
    try:
        return is_inspect(parse_json(read_text(file, most=16 * MOST_BYTES), finite=False))
    except (UserError, Unreadable):
        return False


def inspect_file(file: Path, cluster: str) -> Iterator[Entry]:
    """The items of a log by its file.

    Raises:
        UserError: It can't be read.
    """
    if file.suffix != ".eval":
        yield from inspect_entries(
            parse_json(read_text(file, most=16 * MOST_BYTES), finite=False), str(file), cluster
        )
        return
    try:
        with zipfile.ZipFile(file) as archive:
            if sum(part.file_size for part in archive.infolist()) > _MOST:
                raise UserError(f"{file} holds more than {_MOST} bytes unpacked, which is not read.")
            names = [
                name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")
            ]
            head = parse_json(archive.read("header.json").decode("utf-8"), finite=False)
            task = _task(head, file.stem)
            for name in names:
                sample = parse_json(archive.read(name).decode("utf-8"), finite=False)
                yield _entry(sample, task, f"{file.name}:{name}", cluster)
    except KeyError:
        raise UserError(f"{file} has no header.json: the run did not end, or the file was cut.") from None
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, Unreadable, OSError) as error:
        raise UserError(f"{file} can't be read as a log of Inspect: {error}; copy it again.") from error


def inspect_entries(data: Mapping[str, Any], where: str, cluster: str) -> Iterator[Entry]:
    """The items of a log as plain data."""
    task = _task(data, where)
    samples = data.get("samples")
    for number, sample in enumerate(samples if isinstance(samples, list) else ()):
        yield _entry(sample, task, f"{where}: sample {number + 1}", cluster)


def _task(head: object, otherwise: str) -> str:
    said = head.get("eval") if isinstance(head, Mapping) else None
    return str(said.get("task") or otherwise) if isinstance(said, Mapping) else otherwise


def _entry(sample: object, task: str, where: str, cluster: str) -> Entry:
    if not isinstance(sample, Mapping) or "id" not in sample:
        raise UserError(f"{where} has no `id`, by which items are paired; write the log again.")
    values: dict[str, float] = {}
    scores = sample.get("scores")
    for name, score in scores.items() if isinstance(scores, Mapping) else ():
        value = score.get("value") if isinstance(score, Mapping) else None
        parts = value.items() if isinstance(value, Mapping) else [("", value)]
        for part, one in parts:
            number = _LETTERS.get(one) if isinstance(one, str) else as_number(one)
            if number is not None:
                values[f"{name}/{part}" if part else str(name)] = number
    group = looked_up(sample.get("metadata"), cluster) if cluster else ""
    said = sample.get("input")
    content = said if isinstance(said, str) else ""
    return Entry(where, task, str(sample["id"]), values, str(sample.get("epoch") or ""), group, content)
