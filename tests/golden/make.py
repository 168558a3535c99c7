"""`python -m golden.make [NAME…]`: make records again (all, or those called so) and say what differs."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from golden.cases import CASES, RECORDS, read, write
from golden.differences import differences


def main(wanted: Sequence[str]) -> None:
    """Make, compare, write; a record within its tolerance stays as it is."""
    torch.set_num_threads(1)
    RECORDS.mkdir(exist_ok=True)
    for name, case in CASES.items():
        if wanted and not name.startswith(tuple(wanted)):
            continue
        began, was = time.perf_counter(), read(name)
        with tempfile.TemporaryDirectory() as place:
            now = case.make(Path(place))
        found = differences(was, now, case.tolerance)
        took = time.perf_counter() - began
        print(f"{name}: {'new' if was is None else f'{len(found)} differences'} ({took:.2f} s)", flush=True)
        if found:
            print("".join(f"    {line}\n" for line in found[:20] if was is not None), end="")
            write(name, now)
    if not wanted:
        for path in RECORDS.glob("*.json"):
            if path.stem not in CASES:
                path.unlink()


if __name__ == "__main__":
    main(sys.argv[1:])
