"""What a control would learn of a dipole: rows to look at, to edit, and to train on."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dipole.controls.weights.learning import Learner
from dipole.files import claimed, to_plain, writing_text
from dipole.files.paths import given_path
from dipole.progress import Progress, silent
from dipole.protocols import LM, Poles
from dipole.shown.terminal import columns
from dipole.types import UserError

_SHOWN = 6
_LONGEST = 40  # characters of a cell


@dataclass(frozen=True, eq=False)
class Derived:
    """Texts as a control would learn them.

    Attributes:
        control: The control.
        rows: Rows in trl's format, each with the log-odds, in nats, of its texts (`scores`) and the names of
            those that go on behind their last token (`cut`).
        left_out: What is not learned, each with its `reason`; nothing where a control does not keep that.
    """

    control: str
    rows: tuple[dict[str, Any], ...]
    left_out: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        """How many there are, and the first few."""
        names = [name for name in self.rows[0] if name != "cut"]
        table = columns(
            names, [[_cell(row[name]) for name in names] for row in self.rows[:_SHOWN]], left=True
        )
        more = [f"… and {len(self.rows) - _SHOWN} more"] if len(self.rows) > _SHOWN else []
        counts = Counter(row["reason"] for row in self.left_out)
        why = [f"left out: {count} × {reason}" for reason, count in counts.most_common()]
        return "\n".join([f"{len(self.rows)} rows for {self.control}", *why, "", *table, *more])

    def to_dicts(self) -> list[dict[str, Any]]:
        """Plain data, one table a row; a score that is not known is null."""
        return [to_plain(row) for row in self.rows]

    def save(self, path: Path | str, overwrite: bool = False) -> None:
        """Write the rows as JSONL, whole or not at all; what was left out into a file beside them.

        Args:
            path: The file.
            overwrite: Replace what is there.

        Raises:
            UserError: There is such a file, or it can't be written.
        """
        _write(check_file(path, overwrite), self.to_dicts())
        if self.left_out or beside(path).exists():
            _write(beside(path), [to_plain(row) for row in self.left_out])


def beside(path: Path | str) -> Path:
    """The file beside one of rows that says what was left out."""
    place = given_path(path, "The output file")
    return place.with_name(place.name.removesuffix(".jsonl") + ".left_out.jsonl")


def check_file(path: Path | str, overwrite: bool = False) -> Path:
    """The file that rows may be written to.

    Raises:
        UserError: It is there, or is no file's name.
    """
    place = given_path(path, "The output file")
    if place.is_dir():
        raise UserError(f"The output {path} is a folder; give a file, such as pairs.jsonl.")
    if not place.name.endswith(".jsonl"):
        raise UserError(f"The output file must end in .jsonl, as pairs.jsonl does, and is {str(path)!r}.")
    there = next((one for one in (place, beside(path)) if one.exists()), None)
    if there is not None and not overwrite:
        raise UserError(f"{there} exists; replace it with overwrite=True, or choose another name.")
    return place


def derive(lm: LM, concept: Poles, control: Any, progress: Progress = silent) -> Derived:
    """Have the model write what a control would learn, and a recognizer sort it, and learn nothing.

    Args:
        lm: The model, without interventions; it stays as it was.
        concept: A dipole with prompts.
        control: One that learns from texts: sft, best_of_distil, dpo, dpf or kto.
        progress: Told what goes on.

    Raises:
        UserError: The control learns from no texts, or has been given them; the recognizer agrees with too
            few, or a prompt leaves no room.
    """
    from accelerate import Accelerator

    if not isinstance(control, Learner):
        raise UserError(
            f"{getattr(control, 'name', control)} learns from no texts that could be shown; derive sft, "
            "best_of_distil, dpo, dpf or kto."
        )
    if control.given:
        raise UserError(f"{control.asks_for} was given, so nothing is derived; leave it out.")
    dipole = control.require_prompts(concept)
    for prompt in dipole.prompts:
        lm.require_room(prompt, control.max_new_tokens)
    progress("writing and scoring texts", total=control.completions)
    accelerator = Accelerator(cpu=lm.resident.device.type == "cpu")
    units, left_out = control.derived(lm.base, dipole, control.judge(lm.base), accelerator)
    return Derived(control.name, tuple(control.row(unit) for unit in units), tuple(left_out))


def _write(place: Path, rows: Sequence[Any]) -> None:
    with claimed(place) as file, writing_text(file) as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _cell(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        value = value[-1]["content"]
    if isinstance(value, list):
        return " ".join("–" if math.isnan(number) else f"{number:+.2f}" for number in value)
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
