"""What `compare` and `sweep` have in common: what is measured, and what becomes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dipole.cli._concept import bystanders_from, dipole_from
from dipole.cli._console import emit_drawn, emit_json
from dipole.cli._flags import Count, require_number
from dipole.cli._groups import Output, Source, Wanted
from dipole.cli._named import base_of, loaded, made_control, made_plain, unknown_control
from dipole.files.paths import given_path, tell_shadowed
from dipole.registry import CONTROLS, plain
from dipole.types import UserError

if TYPE_CHECKING:
    from dipole.evaluation.families import Comparison
    from dipole.protocols import Intervention

_MOST = 101


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much is measured.

    Attributes:
        n: Completions to measure, at each strength.
        repeats: Fits and measurements, with other seeds.
        seed: The same seed gives the same completions.
        max_new_tokens: Token budget of a completion.
    """

    n: Count = 128
    repeats: Count = 1
    seed: int = 0
    max_new_tokens: Count = 28


class Comparing:
    """A command that measures controls; its flags are in the order that its own class has them."""

    out: str | None
    wanted: Wanted
    amount: Amount
    bystanders: str | None
    meter: list[str] | None
    source: Source
    batch_size: Count
    output: Output

    def measure(self, made: Callable[..., Comparison], names: Sequence[str], **options: Any) -> None:
        """Fit, measure, write and print.

        Args:
            made: Called with the LM, the dipole, the entries and the options.
            names: Controls and folders.
            options: What only one of the commands has.
        """
        require_number("--seed", self.amount.seed)
        folder = None if self.out is None else self.output.folder(self.out)
        entries, base = entries_from(names)
        model = self.source.name(base)
        dipole, watched = dipole_from(self.wanted, model), bystanders_from(self.bystanders, model)
        lm = self.source.load(base, made_plain(name for name in names if plain(name) not in CONTROLS))
        for entry in entries:  # what was made for another model is refused before anything is measured
            if isinstance(entry, tuple):
                entry[1].apply(lm)
        options |= {
            "bystanders": watched,
            "meters": self.meter or (),
            "batch_size": self.batch_size,
            **asdict(self.amount),
        }
        with self.output.working(folder) as (show, keep):
            found = made(lm, dipole, entries, progress=show, **options)
            keep(found)
        _print(found, self.output.json)
        if folder is not None:
            self.output.say(f"the report is {folder / 'report.html'}")


def strengths_from(text: str, steps: int | None = None) -> tuple[float, ...]:
    """The strengths of `-4..4`, evenly spaced, or of a list such as `-1,0,1`; in ascending order, each once.

    Args:
        text: What was given.
        steps: How many a range has; 9 by default.

    Raises:
        UserError: It is neither, a strength is not finite, or `steps` is given for a list or out of range.
    """
    low, dots, high = text.partition("..")
    parts = [low, high] if dots else text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        raise UserError(
            f"--strengths must be a range such as -4..4 or a list such as -1,0,1, and is {text!r}."
        ) from None
    if not all(map(math.isfinite, numbers)):
        raise UserError(f"--strengths must be finite numbers, and is {text!r}.")
    if not dots:
        if steps is not None:
            raise UserError("--steps is for a range such as --strengths -4..4; leave it out with a list.")
        return tuple(sorted(set(numbers)))
    count = 9 if steps is None else steps
    if not 2 <= count <= _MOST:
        raise UserError(f"--steps must be from 2 to {_MOST}, and is {count}.")
    if numbers[0] >= numbers[1]:
        raise UserError(f"--strengths {text} goes nowhere: wanted the lower end first, as in -4..4.")
    first, width = numbers[0], (numbers[1] - numbers[0]) / (count - 1)
    return tuple(round(first + width * k, 10) for k in range(count))


def entries_from(names: Sequence[str]) -> tuple[list[Any], str | None]:
    """What is measured, and the name of the model that the fitted interventions among it were made for.

    A name of a control is that control, to be fitted; `./vector` is the folder.

    Raises:
        UserError: A name is neither a control nor a folder, or stands there twice.
    """
    entries: list[Any] = []
    fitted: list[tuple[Intervention, str]] = []
    seen: set[str] = set()
    for name in names:
        known = plain(name)
        label = known if known in CONTROLS else str(Path(name))
        if label in seen:
            raise UserError(f"{name!r} stands there twice; name each control or folder once.")
        seen.add(label)
        if known in CONTROLS:
            tell_shadowed(name, "a control")
            entries.append(made_control(known))
        elif given_path(name, "The control").is_dir():
            fitted.append((loaded(name), name))
            entries.append((label, fitted[-1][0]))
        else:
            raise unknown_control(name)
    return entries, base_of(fitted)


def _print(found: Comparison, as_json: bool) -> None:
    if as_json:
        from dipole.evaluation.families import comparison_to_dict

        return emit_json(comparison_to_dict(found))
    from dipole.report.comparison import comparison_summary

    emit_drawn(partial(comparison_summary, found))
