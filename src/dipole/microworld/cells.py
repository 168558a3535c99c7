"""Write stories in four cells: `python -m dipole.microworld.cells --cell 400 --out stories`.

The cells are {detective plot or not} x {crime words or not}, equally many of each, so that a notion that goes
by words and one that goes by plot can be told apart.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from dipole.files import code_of, staged, write_manifest, write_text_atomic
from dipole.microworld.stories import Story, write_story
from dipole.types import UserError

CELLS = (
    (("detective",), True),
    (("detective",), False),
    (("news", "gangster"), None),
    (("romance", "adventure", "fairy tale", "sea tale", "school story"), None),
)
"""Genres of each cell, and which of the detective plots."""


def stories(cell: int, seed: int) -> list[Story]:
    """Stories in random order, `cell` of each cell."""
    rng = random.Random(seed)
    found = [write_story(rng, rng.choice(genres), crime) for genres, crime in CELLS for _ in range(cell)]
    rng.shuffle(found)
    return found


def write_cells(folder: Path, cell: int, seed: int, overwrite: bool = False) -> None:
    """Write `docs.jsonl` (id, text), `truth.csv` (detective plot) and `crime.csv` (crime words).

    Args:
        folder: Made where it is missing.
        cell: Stories a cell.
        seed: Of the stories.
        overwrite: Replace what was written there before.

    Raises:
        UserError: The folder is in use or can't be written, or `cell` is below 1.
    """
    if cell < 1:
        raise UserError(f"There must be at least 1 story a cell, not {cell}.")
    with staged(folder, overwrite) as made:
        found = stories(cell, seed)
        lines = [json.dumps({"id": f"s{i}", "text": story.text}) for i, story in enumerate(found)]
        write_text_atomic(made / "docs.jsonl", "\n".join(lines) + "\n")
        for name, values in (
            ("truth", [story.detective_plot for story in found]),
            ("crime", [story.crime_words for story in found]),
        ):
            rows = "".join(f"s{i},{int(value)}\n" for i, value in enumerate(values))
            write_text_atomic(made / f"{name}.csv", "id,label\n" + rows)
        write_manifest(made, {"made_by": "dipole", "format": 1, "cell": cell, "seed": seed})


def main(argv: list[str] | None = None) -> int:
    """The command; 2 on input that cannot be."""
    parser = argparse.ArgumentParser(prog="python -m dipole.microworld.cells", description=__doc__)
    parser.add_argument("--cell", type=int, default=400, help="stories a cell")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder")
    parser.add_argument("--overwrite", action="store_true", help="replace what was written there before")
    options = parser.parse_args(argv)
    try:
        write_cells(options.out, options.cell, options.seed, options.overwrite)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(code_of(main))
