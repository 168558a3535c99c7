"""What stitching costs: peak memory at n and 4n documents, and seconds per 1,000 documents.

    python benchmarks/stitching.py [--documents 1000] [--from mini] [--to tiny] [--threads 2] [--json]

Documents of the microworld are written by a generator as they are asked for, so none of them is kept. Each
size runs in a process of its own, which fits maps from the last layer of one model to the layers at equal
relative depth of the other, with weighted rows: three readings of the source, one of the target. Peak memory
is the process's own (`ru_maxrss`), models and libraries included; flat means that four times the documents
need no more than a tenth beyond what one time needs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import torch

import dipole
from dipole.microworld.documents import generate
from dipole.stitching.fitting import fit_stitches, survey
from dipole.stitching.mapping import candidate_layers, depth_of

PROMPTS = ("If I had to choose between cats and dogs, I'd pick", "Between tea and coffee, my choice is")
FLAT = 1.1


class Document(NamedTuple):
    """A text with its number."""

    id: str
    text: str


class Written:
    """Documents that are written anew at each reading."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[Document]:
        """The same documents each time."""
        for number, document in enumerate(itertools.islice(generate(self.n, seed=1), self.n)):
            yield Document(str(number), document.text)


def measured(n: int, source_name: str, target_name: str) -> dict[str, float]:
    source, target = dipole.load(source_name), dipole.load(target_name)
    corpus = Written(n)
    layer = depth_of(source) - 1
    layers = candidate_layers(layer, depth_of(source), depth_of(target))
    wall, processor = time.perf_counter(), time.process_time()
    found = survey(source, target, corpus, layer, PROMPTS)
    stitches = fit_stitches(source, target, corpus, layer, layers, found)
    scale = 1000 / n
    return {
        "documents": n,
        "pairs": found.tally.pairs,
        "fvu": min(stitch.fvu for stitch in stitches),
        "seconds_per_1000": (time.perf_counter() - wall) * scale,
        "processor_seconds_per_1000": (time.process_time() - processor) * scale,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--from", dest="source", default="mini")
    parser.add_argument("--to", dest="target", default="tiny")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--once", action="store_true", help="measure this size alone, in this process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.once:
        print(json.dumps(measured(options.documents, options.source, options.target)))
        return 0
    rows = []
    for n in (options.documents, 4 * options.documents):
        command = [sys.executable, __file__, "--once", "--documents", str(n), "--from", options.source]
        command += ["--to", options.target, "--threads", str(options.threads)]
        rows.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    growth = rows[1]["peak_mib"] / rows[0]["peak_mib"]
    if options.json:
        print(json.dumps({"rows": rows, "growth": growth, "flat": growth <= FLAT}))
        return 0
    print(
        f"{'documents':>10} {'pairs':>9} {'FVU':>6} {'s / 1,000':>10} {'cpu s / 1,000':>14} {'peak MiB':>9}"
    )
    for row in rows:
        print(
            f"{row['documents']:>10,} {row['pairs']:>9,} {row['fvu']:>6.3f} {row['seconds_per_1000']:>10.1f} "
            f"{row['processor_seconds_per_1000']:>14.1f} {row['peak_mib']:>9.0f}"
        )
    print(
        f"peak memory at 4 times the documents: {growth:.2f} times ({'flat' if growth <= FLAT else 'grows'})"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
