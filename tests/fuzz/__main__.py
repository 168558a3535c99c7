"""`python -m fuzz COUNT [SEED]`: so many edits, one line for each that ends as it must not, and a summary."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from fuzz.watch import Bench


def main(count: int, seed: int, kind: str | None = None) -> int:
    """Run; 1 if something was wrong."""
    torch.set_num_threads(1)
    tally: Counter[str] = Counter()
    slowest = (0.0, "")
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(Path(place) / "bench")
        for number in range(count):
            began = time.perf_counter()
            found = bench.run(number, seed, kind)
            slowest = max(slowest, (time.perf_counter() - began, f"{found.kind} {number} {found.edit}"))
            how = "wrong" if found.wrong else "refused" if found.refused else "used"
            tally[how] += 1
            if found.wrong:
                print(f"{found.kind} #{number}: {found.edit}\n    {found.wrong}", flush=True)
    print(f"{count} edits, seed {seed}: {dict(tally)}; slowest {slowest[0]:.1f} s: {slowest[1]}")
    return int(bool(tally["wrong"]))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    numbers = [int(a) for a in arguments[:2]]
    sys.exit(
        main(numbers[0], numbers[1] if len(numbers) > 1 else 0, arguments[2] if len(arguments) > 2 else None)
    )
